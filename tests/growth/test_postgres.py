"""Dagster and MLflow on PostgreSQL: a home moves there with the documented commands, and all that works on SQLite works there."""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from dagster_postgres import PostgresEventLogStorage
from postgres_server import PASSWORD, Postgres
from support import CHECKOUT, Demo, copy_of, environment, tenfold

from pipelines.papers import PAPERS, modules
from pipelines.storage_postgres import Postgres as Storage
from tenfold.core.errors import TenfoldError
from tenfold.ops import home, registry_read
from tenfold.ops.settings import Settings

PAPER = "crossmodal_anomaly"
PEG = f"{PAPER}.demo.peg"
UNITS = len(PAPERS) + 1  # of the demos: this paper has two
OTHERS = sum(len(module.ASSETS) for name, module in modules().items() if name != PAPER)
DATABASES = ("dagster", "mlflow")


@dataclass(frozen=True)
class Moved:
    """A home on PostgreSQL, the environment that names it, and what the commands said."""

    root: Path
    env: dict[str, str]
    said: list[str]
    models: set[Path]


def documented() -> str:
    """The commands of deploy/README.md."""
    found = re.search(r"```bash\n(pip install.*?)```", (CHECKOUT / "deploy" / "README.md").read_text(), re.S)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def moved(demo: Demo, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Moved:
    """The documented commands; while they run, a second run starts on the same empty databases."""
    root = copy_of(demo.root, tmp_path_factory.mktemp("moved") / "root")
    (root / "deploy").symlink_to(CHECKOUT / "deploy")
    for database in DATABASES:
        postgres.ask("postgres", f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    postgres.create(*DATABASES)
    more = {
        name: postgres.url(database)
        for name, database in zip(("TENFOLD_DAGSTER_DB", "TENFOLD_MLFLOW_TRACKING_URI"), DATABASES, strict=True)
    }
    commands = documented()
    assert commands.splitlines()[-1] == "tenfold run"
    # the package is there, and the command is the checkout's
    commands = commands.replace("pip install", ": pip install").replace("\ntenfold run", "\nexec python -m pipelines.cli run")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = {"TENFOLD_DB": f"127.0.0.1:{postgres.port}", "TENFOLD_DB_PASSWORD": postgres.password_in_url, "PATH": path}
    pipe = subprocess.PIPE
    first = subprocess.Popen(["bash", "-euc", commands], cwd=root, env=environment(root, **given), stdout=pipe, stderr=pipe, text=True)
    link = root / ".tenfold" / "dagster" / "dagster.yaml"
    while link.is_symlink() or not link.is_file():
        assert first.poll() is None, first.communicate()
        time.sleep(0.01)
    models = set((root / ".tenfold" / "store" / PAPER / "model").iterdir())
    second = tenfold(root, "run", PEG, **more)
    said = [*first.communicate(timeout=300), second.stdout, second.stderr]
    assert (first.returncode, second.returncode) == (0, 0), "\n".join(said)
    return Moved(root, more, said, models)


@pytest.mark.slow
def test_the_documented_commands_move_a_home_and_train_nothing(moved: Moved, postgres: Postgres) -> None:
    assert set((moved.root / ".tenfold" / "store" / PAPER / "model").iterdir()) == moved.models
    assert (CHECKOUT / "dagster.yaml").read_text() == (moved.root / "dagster.yaml").read_text(), (
        "the checkout's file is not written through its link"
    )
    settings = Settings(root=moved.root, home=moved.root / ".tenfold", mlflow_tracking_uri=postgres.url("mlflow"))
    names = [f"{PAPER}.demo.biscuit", PEG]
    assert registry_read.champions(settings, PAPER) == names
    for name in names:
        version, key = registry_read.peek(settings, name) or ("", "")
        assert version == "1" and (moved.root / ".tenfold" / "store" / PAPER / "model" / key).is_dir()
    assert registry_read.peek(settings, f"{PAPER}.demo.nobody") is None
    assert postgres.ask("mlflow", "SELECT DISTINCT status FROM runs") == [("FINISHED",)]
    nested = "SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId'"
    assert postgres.ask("mlflow", f"SELECT count(*) FROM runs WHERE run_uuid NOT IN ({nested})") == [(UNITS,)], (
        "one a model, of two that tell it"
    )


@pytest.mark.slow
def test_a_look_at_the_champion_imports_no_mlflow(moved: Moved) -> None:
    program = (
        "import sys; from tenfold.ops import registry_read, settings\n"
        f"print(registry_read.peek(settings.load(), {PEG!r})[0], sorted({{'mlflow', 'sqlalchemy'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment(moved.root, **moved.env), capture_output=True, text=True)
    assert done.stdout.strip() == "1 []", done.stderr


@pytest.mark.slow
def test_all_events_of_runs_at_the_same_time_are_there(moved: Moved, postgres: Postgres) -> None:
    assert postgres.ask("dagster", "SELECT status, count(*) FROM runs GROUP BY 1") == [("SUCCESS", UNITS + 3)]
    count = "SELECT partition, count(*), count(DISTINCT asset_key) FROM event_logs WHERE dagster_event_type = '{}' GROUP BY 1 ORDER BY 1"
    made = postgres.ask("dagster", count.format("ASSET_MATERIALIZATION"))
    assert made == [("demo", OTHERS, OTHERS), ("demo.biscuit", 8, 8), ("demo.peg", 16, 8), (None, 2, 1)]
    checks = postgres.ask("dagster", "SELECT execution_status, count(*) FROM asset_check_executions GROUP BY 1")
    assert {status for status, _ in checks} <= {"SUCCEEDED", "FAILED"} and checks, "none is left as planned"
    limits = postgres.ask("dagster", 'SELECT concurrency_key, "limit" FROM concurrency_limits ORDER BY 1')
    assert limits == [("dvc", 1), ("gpu", 1)]


@pytest.mark.slow
def test_a_pool_holds_its_limit_between_two_runs(moved: Moved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_DAGSTER_DB", moved.env["TENFOLD_DAGSTER_DB"])
    monkeypatch.setenv("DAGSTER_HOME", str(moved.root / ".tenfold" / "dagster"))
    with dg.DagsterInstance.get() as one, dg.DagsterInstance.get() as other:
        first, second = (instance.event_log_storage for instance in (one, other))
        assert isinstance(first, PostgresEventLogStorage)
        assert first.claim_concurrency_slot("gpu", "run-1", "model").is_claimed
        assert not second.claim_concurrency_slot("gpu", "run-2", "model").is_claimed
        first.free_concurrency_slots_for_run("run-1")
        assert second.claim_concurrency_slot("gpu", "run-2", "model").is_claimed
        second.free_concurrency_slots_for_run("run-2")


@pytest.mark.slow
def test_doctor_and_gc(moved: Moved, postgres: Postgres) -> None:
    well = tenfold(moved.root, "doctor", **moved.env)
    assert well.returncode == 0 and "all is well" in well.stdout, well.stdout + well.stderr
    cleared = tenfold(moved.root, "gc", "--delete", "--runs-older-than", "0", **moved.env)
    assert cleared.returncode == 0 and f"deleted {UNITS + 3} finished Dagster run(s)" in cleared.stdout, cleared.stdout + cleared.stderr
    assert postgres.ask("dagster", "SELECT count(*) FROM runs") == [(0,)]
    kept = postgres.ask("dagster", "SELECT count(*) FROM asset_keys WHERE last_materialization IS NOT NULL")
    assert kept == [(8 + OTHERS + 1,)], "assets keep their latest state"
    assert set((moved.root / ".tenfold" / "store" / PAPER / "model").iterdir()) == moved.models
    for text in [*moved.said, well.stdout, well.stderr, cleared.stderr]:
        assert PASSWORD not in text and postgres.password_in_url not in text


def test_a_database_that_cannot_be_used_is_named_without_its_password(postgres: Postgres) -> None:
    for url, cause in (
        (postgres.url("dagster").replace(str(postgres.port), "1"), "Connection refused"),
        (postgres.url("absent"), "does not exist"),
        (postgres.url("dagster").replace(postgres.password_in_url, "wrong"), "password authentication failed"),
    ):
        with pytest.raises(TenfoldError, match=cause) as told:
            Storage(url, patience_s=0.1, should_autocreate_tables=True, inst_data=None)
        assert url.rpartition("@")[2] in str(told.value)
        assert "wrong" not in str(told.value) and postgres.password_in_url not in str(told.value)


def test_the_plain_scheme_means_psycopg2_here(postgres: Postgres) -> None:
    postgres.create("plain")
    plain = postgres.url("plain").replace("+psycopg2", "")
    storage = Storage(plain, patience_s=0.1, should_autocreate_tables=True, inst_data=None)
    assert storage.run_storage.get_runs() == []


def test_another_address_is_another_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(home, "_make_dagster", lambda settings: made.append(os.environ["TENFOLD_DAGSTER_DB"]))
    settings = Settings(root=tmp_path, home=tmp_path / "home")
    (tmp_path / "dagster.yaml").write_text((CHECKOUT / "deploy" / "dagster.postgres.yaml").read_text())
    for database in ("one", "one", "another"):
        monkeypatch.setenv("TENFOLD_DAGSTER_DB", database)
        home.ensure(settings)
    assert made == ["one", "another"], "its tables and pools are made behind the lock as well"
