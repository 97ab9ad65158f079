"""`tenfold ui` itself: ports, signals, servers that die."""

import os
import shlex
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from e2e.running import MARK, free_ports, left_behind, start_ui, tenfold, until_up
from support import environment, lay_out

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PATIENCE_S = 25


def test_it_starts_from_a_shell_without_sigint_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """As with `tenfold ui &` in a script: SIGINT comes down ignored, and must still stop it."""
    root, log = lay_out(tmp_path / "root"), tmp_path / "log"
    log.touch()
    dagster, mlflow = free_ports(2)
    line = shlex.join(tenfold("ui", "--port", str(dagster), "--mlflow-port", str(mlflow)))
    script = f"{line} > {shlex.quote(str(log))} 2>&1 & echo $!; wait"
    shell = subprocess.Popen(
        ["sh", "-c", script], env=environment(root, **{MARK: str(root)}), cwd=root, stdout=subprocess.PIPE, text=True, start_new_session=True
    )  # fmt: skip
    assert shell.stdout is not None
    pid = int(shell.stdout.readline())
    try:
        until_up(shell, log)
        assert (root / ".tenfold" / "ui.json").is_file()
        second = subprocess.run(tenfold("ui"), env=environment(root), cwd=root, capture_output=True, text=True, timeout=60)
        assert second.returncode == 2 and str(dagster) in second.stderr and "another `tenfold ui`" in second.stderr
        os.kill(pid, signal.SIGINT)
        shell.wait(PATIENCE_S)
    finally:
        if shell.poll() is None:
            os.kill(pid, signal.SIGTERM)
            shell.wait(60)
    assert "stopping" in log.read_text()
    assert left_behind(str(root)) == []
    assert not (root / ".tenfold" / "ui.json").exists()


def test_a_server_that_dies_shows_its_last_words_and_takes_the_other_with_it(tmp_path: Path) -> None:
    root, log = lay_out(tmp_path / "root"), tmp_path / "log"
    (root / "workspace.yaml").write_text("load_from: 7\n")
    dagster, mlflow = free_ports(2)
    process = start_ui(root, log, "--port", str(dagster), "--mlflow-port", str(mlflow), mark=str(root))
    try:
        assert process.wait(120) == 1
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
    assert "Dagster did not start. The end of" in log.read_text() and "workspace.yaml" in log.read_text()
    assert left_behind(str(root)) == []


def test_a_code_location_that_does_not_load_is_told(tmp_path: Path) -> None:
    root, log = lay_out(tmp_path / "root"), tmp_path / "log"
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("recipe: demo", "recipe: dmeo"))
    dagster, mlflow = free_ports(2)
    process = start_ui(root, log, "--port", str(dagster), "--mlflow-port", str(mlflow), mark=str(root))
    try:
        until_up(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert "does not load" in log.read_text() and "dmeo" in log.read_text()
    assert left_behind(str(root)) == []


@pytest.mark.parametrize("option", ["--port", "--mlflow-port"])
def test_a_port_in_use_is_refused_before_anything_starts(tmp_path: Path, option: str) -> None:
    root = lay_out(tmp_path / "root")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (other,) = free_ports(1)
        rest = "--mlflow-port" if option == "--port" else "--port"
        done = subprocess.run(
            tenfold("ui", option, str(port), rest, str(other)), env=environment(root), cwd=root, capture_output=True, text=True, timeout=60
        )  # fmt: skip
    assert done.returncode == 2
    assert f"port {port}" in done.stderr and option in done.stderr
    assert not (root / ".tenfold" / "logs" / "mlflow.log").exists()
