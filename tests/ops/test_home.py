"""The home is made once, and by one process at a time."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tenfold.ops import home
from tenfold.ops.settings import Settings

CONFIG = "telemetry: {enabled: false}\nconcurrency:\n  pools: {default_limit: 1, granularity: op}\n"


def limits(settings: Settings) -> dict[str, int]:
    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        return {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}


def test_dagster_gets_its_file_and_pools_once(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, home=tmp_path / "home")
    (tmp_path / "dagster.yaml").write_text(CONFIG)
    threads = [threading.Thread(target=home.ensure, args=(settings,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (settings.dagster_home / "dagster.yaml").read_text() == CONFIG
    assert limits(settings) == home.POOLS

    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        instance.event_log_storage.set_concurrency_slots("gpu", 4)
    (tmp_path / "dagster.yaml").write_text(CONFIG + "nux: {enabled: false}\n")
    home.ensure(settings)
    assert limits(settings)["gpu"] == 4  # the user's number survives a new configuration


def test_a_link_to_a_checkout_that_moved_is_repaired_and_a_file_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "_make_dagster", lambda settings: None)
    settings = Settings(root=tmp_path, home=tmp_path / "home")
    (tmp_path / "dagster.yaml").write_text(CONFIG)
    link = settings.dagster_home / "dagster.yaml"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere" / "dagster.yaml")
    home.ensure(settings)
    assert link.read_text() == CONFIG
    link.unlink()
    link.write_text("mine: 1\n")
    home.ensure(settings)
    assert link.read_text() == "mine: 1\n"


@pytest.mark.slow
def test_a_home_that_is_ready_imports_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tenfold.ops import home; from tenfold.ops.settings import Settings\n"
        f"settings = Settings(root=Path({str(tmp_path)!r}), home=Path({str(tmp_path / 'home')!r}))\n"
        "home.ensure(settings); home.ensure_mlflow(settings)\n"
        "print(sorted({'dagster', 'mlflow', 'torch', 'pandas', 'sqlalchemy'} & set(sys.modules)))"
    )
    first, second = (subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert "dagster" in first and "mlflow" in first
    assert second.strip() == "[]"
    database = tmp_path / "home" / "mlflow" / "mlflow.db"
    database.unlink()
    home.ensure_mlflow(Settings(root=tmp_path, home=tmp_path / "home"))
    assert database.is_file()  # a marker without its database does not count


def test_tables_half_made_are_no_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill or a full disk between two migrations: MLflow could not go on with what they left."""
    settings = Settings(root=tmp_path, home=tmp_path / "home")

    def cut_off(uri: str) -> None:
        Path(uri.removeprefix("sqlite:///")).write_bytes(b"half a database")
        raise KeyboardInterrupt

    monkeypatch.setattr(home, "_make_mlflow", cut_off)
    with pytest.raises(KeyboardInterrupt):
        home.ensure_mlflow(settings)
    assert not [path for path in (tmp_path / "home" / "mlflow").iterdir() if path.name.endswith(".db")]
