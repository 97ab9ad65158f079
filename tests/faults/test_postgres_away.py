"""F6: PostgreSQL stops in the middle of a run. The run waits, or it fails cleanly and the next one completes it; no event is lost."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import postgres_server
import pytest
from growth.deployment import own_dagster_yaml
from postgres_server import Postgres
from support import Demo, copy_of, read_until, start, tenfold

BISCUIT = "crossmodal_anomaly.demo.biscuit"
TO_MODEL = ("run", BISCUIT, "--to", "model")
ONE_NETWORK = ("--set", "model.seeds=[0]", "--set", "model.variants=[]")
ASSETS = ("dataset", "features", "model", "prepared")
AWAY_S = 4
CUT_OFF = """
CREATE FUNCTION cut_off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.dagster_event_type = 'ASSET_MATERIALIZATION' AND NEW.asset_key LIKE '%features%' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
  RETURN NEW; END $$;
CREATE TRIGGER cut_off BEFORE INSERT ON event_logs FOR EACH ROW EXECUTE FUNCTION cut_off()"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A PostgreSQL that may be stopped."""
    with postgres_server.running() as made:
        yield made


@pytest.fixture
def root(demo: Demo, tmp_path: Path) -> Path:
    """A home that ran the demo, its Dagster on PostgreSQL."""
    made = copy_of(demo.root, tmp_path / "root")
    own_dagster_yaml(made)
    return made


@pytest.fixture
def databases(server: Postgres) -> dict[str, str]:
    """Both databases, empty."""
    for name in ("dagster", "mlflow"):
        server.ask("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        server.create(name)
    return {"TENFOLD_DAGSTER_DB": server.url("dagster"), "TENFOLD_MLFLOW_TRACKING_URI": server.url("mlflow")}


def materialized(server: Postgres, status: str = "SUCCESS") -> list[tuple[object, ...]]:
    """Assets with an event, of the runs that ended so."""
    return server.ask(
        "dagster",
        "SELECT DISTINCT e.asset_key FROM event_logs e JOIN runs r USING (run_id) "
        f"WHERE e.dagster_event_type = 'ASSET_MATERIALIZATION' AND r.status = '{status}' ORDER BY 1",
    )


def everything_is_recorded(server: Postgres, root: Path, databases: dict[str, str]) -> None:
    """An event for every asset in a run that succeeded, no slot taken, every run at its end; MLflow has every step once."""
    assert materialized(server) == [(f'["crossmodal_anomaly", "{name}"]',) for name in ASSETS]
    assert server.ask("dagster", "SELECT concurrency_key FROM concurrency_slots WHERE run_id IS NOT NULL") == []
    assert server.ask("dagster", "SELECT status FROM runs WHERE status NOT IN ('SUCCESS', 'FAILURE')") == []
    if list((root / ".tenfold" / "spool").glob("*.jsonl")):
        # a slow machine: the run did not wait until all points were sent
        tenfold(root, "doctor", **databases)
    runs = server.ask("mlflow", "SELECT status, count(*) FROM runs GROUP BY 1")
    assert runs == [("FINISHED", 2)], "one run of the model and one of its network"
    steps = server.ask("mlflow", "SELECT run_uuid, count(*), count(DISTINCT step) FROM metrics WHERE key = 'train/loss' GROUP BY 1")
    assert [counts for _, *counts in steps] == [[3, 3]] * 2


def test_a_restart_in_training_is_waited_out(server: Postgres, root: Path, databases: dict[str, str]) -> None:
    process = start(root, *TO_MODEL, *ONE_NETWORK, "--set", "model.lr=3.1e-3", **databases)
    read_until(process, "epoch 1/3")
    with server.away():
        read_until(process, "Waiting up to 60 s")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(AWAY_S)
    said, told = process.communicate(timeout=240)
    assert process.returncode == 0, said + told
    assert server.ask("dagster", "SELECT status FROM runs") == [("SUCCESS",)]
    everything_is_recorded(server, root, databases)


def test_an_outage_beyond_patience_ends_the_run_and_the_next_one_completes_it(
    server: Postgres, root: Path, databases: dict[str, str]
) -> None:
    own = root / ".tenfold" / "dagster" / "dagster.yaml"
    own.write_text(own.read_text().replace("patience_s: 60", "patience_s: 1"))
    words = (*TO_MODEL, *ONE_NETWORK, "--set", "model.lr=3.2e-3")
    process = start(root, *words, **databases)
    read_until(process, "epoch 1/3")
    with server.away():
        said, told = process.communicate(timeout=240)
    assert process.returncode == 1, said + told
    last = told.strip().splitlines()[-1]
    assert f"127.0.0.1:{server.port}/dagster has not taken a connection for 1 s" in last and "run the same command again" in last
    assert server.ask("dagster", "SELECT status FROM runs") == [("STARTED",)], "nobody could write its end"
    again = tenfold(root, *words, **databases)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "its slots are free again" in again.stderr and "seed 0: epoch 2/3" in again.stderr
    assert "full seed 0: epoch 1/3" not in again.stderr, "it goes on from the checkpoint"
    assert server.ask("dagster", "SELECT status FROM runs ORDER BY id") == [("FAILURE",), ("SUCCESS",)]
    everything_is_recorded(server, root, databases)


def test_an_event_that_is_cut_off_is_written_by_the_next_run(server: Postgres, root: Path, databases: dict[str, str]) -> None:
    made = tenfold(root, "env", **databases)  # makes the tables
    assert made.returncode == 0, made.stderr
    server.ask("dagster", CUT_OFF)
    cut = tenfold(root, *TO_MODEL, **databases)
    assert cut.returncode == 1
    assert f"127.0.0.1:{server.port}/dagster broke off" in cut.stderr and "run the same command again" in cut.stderr, cut.stderr
    assert server.ask("dagster", "SELECT status FROM runs ORDER BY id") == [("FAILURE",)]
    assert server.ask("dagster", "SELECT concurrency_key FROM concurrency_slots WHERE run_id IS NOT NULL") == []
    server.ask("dagster", "DROP TRIGGER cut_off ON event_logs")
    again = tenfold(root, *TO_MODEL, **databases)
    assert again.returncode == 0, again.stdout + again.stderr
    assert materialized(server) == [(f'["crossmodal_anomaly", "{name}"]',) for name in ASSETS]
