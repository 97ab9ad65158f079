"""What was handed to which tracking server is remembered by server."""

import sqlite3
from contextlib import closing
from pathlib import Path

from tenfold.ops import logged
from tenfold.ops.settings import Settings


def at(folder: Path, uri: str = "") -> Settings:
    return Settings(root=folder, home=folder / "home", mlflow_tracking_uri=uri)


def test_a_hit_links_to_the_run_without_mlflow(tmp_path: Path) -> None:
    settings = at(tmp_path)
    assert logged.read(settings, "paper", "model", "k") is None and logged.link(settings, "paper", "model", "k") is None
    logged.note(settings, "paper", "model", "k", "r1", "7")
    assert logged.read(settings, "paper", "model", "k") == {"run_id": "r1", "experiment_id": "7"}
    assert logged.link(settings, "paper", "model", "k") == f"{settings.mlflow_url}/#/experiments/7/runs/r1/artifacts"


def test_during_an_outage_there_is_a_mark_but_no_link(tmp_path: Path) -> None:
    logged.note(at(tmp_path), "paper", "model", "k", None, None)
    assert logged.read(at(tmp_path), "paper", "model", "k") == {"run_id": "", "experiment_id": ""}
    assert logged.link(at(tmp_path), "paper", "model", "k") is None


def test_another_server_has_nothing_yet_and_a_moved_home_keeps_its_marks(tmp_path: Path) -> None:
    logged.note(at(tmp_path / "a"), "paper", "model", "k", "r1", "")
    assert logged.read(at(tmp_path / "a", "http://127.0.0.1:5001"), "paper", "model", "k") is None
    (tmp_path / "a").rename(tmp_path / "b")
    assert logged.read(at(tmp_path / "b"), "paper", "model", "k") is not None


def test_a_lost_database_is_told_everything_again(tmp_path: Path) -> None:
    settings = at(tmp_path)
    assert not logged.known(settings, "paper", "model", "k")
    logged.note(settings, "paper", "model", "k", None, None)
    assert logged.known(settings, "paper", "model", "k"), "the spool has it"
    logged.note(settings, "paper", "model", "k", "r1", "7")
    assert not logged.known(settings, "paper", "model", "k"), "there is no database"
    with closing(sqlite3.connect(settings.home / "mlflow" / "mlflow.db")) as database, database:
        database.execute("CREATE TABLE runs (run_uuid TEXT)")
        database.execute("INSERT INTO runs VALUES ('r1')")
    assert logged.known(settings, "paper", "model", "k")
    logged.note(settings, "paper", "model", "k", "r2", "7")
    assert not logged.known(settings, "paper", "model", "k"), "the database is a new one"
    server = at(tmp_path, "http://127.0.0.1:1")
    logged.note(server, "paper", "model", "k", "r2", "7")
    assert logged.known(server, "paper", "model", "k"), "a server is believed"
