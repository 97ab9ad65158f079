"""One tiny root, trained twice, and one `tenfold ui` on it, for all tests that drive a browser or a served model."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from e2e.running import PARTITION, Ui, command, free_ports, left_behind, start_ui, until_up
from support import lay_out

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_QUIET = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
# a page of Dagster takes seconds to draw itself where both cores are busy
EXPECT_MS = 30_000
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", *_QUIET]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny root on which one partition was trained with two learning rates; the second is the last."""
    root = lay_out(tmp_path_factory.mktemp("e2e") / "root")
    command(root, "run", PARTITION)
    command(root, "run", PARTITION, "--set", "model.lr=3.0e-3")
    return root


@pytest.fixture(scope="session")
def ui(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """`tenfold ui` on free ports; at the end it must stop within seconds and leave nothing behind."""
    dagster, mlflow = free_ports(2)
    log = tmp_path_factory.mktemp("ui") / "ui.log"
    began = time.monotonic()
    process = start_ui(trained, log, "--port", str(dagster), "--mlflow-port", str(mlflow), mark=str(trained))
    try:
        until_up(process, log)
        yield Ui(f"http://127.0.0.1:{dagster}", f"http://127.0.0.1:{mlflow}", trained, time.monotonic() - began)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
        assert left_behind(str(trained)) == []
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


# a module each: playwright's event loop runs in this thread for as long as it is open, and asyncio.run would refuse to start another
@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Chromium. Without it the tests are skipped, except where CI is set: there its absence is a failure."""
    path = shutil.which("chromium")
    if path is None:
        reason = "chromium is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=EXPECT_MS)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: "Browser") -> Iterator["Page"]:
    """An empty page of a browser without memory, that asks nobody but this machine."""
    context = browser.new_context(viewport={"width": 1500, "height": 1200})
    context.set_default_timeout(90_000)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    yield context.new_page()
    context.close()
    outside = [url for url in asked if not url.startswith(("http://127.0.0.1:", "data:", "blob:", "about:"))]
    assert outside == []
