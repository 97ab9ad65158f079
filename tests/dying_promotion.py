"""Decides about a made-up network on a real registry and dies at each of its writes; what follows is printed as JSON.

`python dying_promotion.py FOLDER`. One process imports the libraries and forks for each attempt, so that an attempt is a process of its own
and costs no import.
"""

import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from gate_world import NAME, PAPER, PARTITION, World, any_paper, at, forked
from mlflow import MlflowClient

from tenfold.core.store import Store
from tenfold.ops import mlflow_store, registry
from tenfold.ops.tracking import Tracking

DEAD = 86


def ended(work: Callable[[], object]) -> int:
    """Exit code of a process that does the work."""
    return os.waitstatus_to_exitcode(os.waitpid(forked(work), 0)[1])


def prepare(home: Path) -> None:
    """`a` is champion; `b` is trained, better, and its run is in MLflow."""
    world = World(at(home))
    world.train("a", 0.5)
    world.decide()
    with Tracking(world.settings).run(PAPER, PARTITION, "b" * 16, tags={}, params={"model": {"lr": 1.0}}) as run:
        run.metrics({"aupro_30": 0.6})
        run.note("model", "b" * 16)
    assert run.run_id
    world.train("b", 0.6)


def decide(home: Path, die_at: int | None) -> int:
    """The champion asset; dies before write `die_at`. Returns how many writes there were."""
    world = World(at(home))
    world.headline = {"a" * 16: 0.5, "b" * 16: 0.6}
    world.use("b")
    writes = 0

    def counted(owner: Any, name: str) -> None:
        plain = getattr(owner, name)
        depth = [0]

        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal writes
            if not depth[0]:
                if writes == die_at:
                    os._exit(DEAD)
                writes += 1
            depth[0] += 1
            try:
                return plain(*arguments, **named)
            finally:
                depth[0] -= 1

        setattr(owner, name, call)

    for name in vars(MlflowClient):
        # all that does not only read
        if name.startswith(("create_", "log_", "set_", "finalize_", "update_", "delete_", "restore_", "transition_", "rename_")):
            counted(MlflowClient, name)
    counted(Store, "publish")
    counted(Store, "set_current")
    world.decide()
    return writes


def cut_upload(home: Path) -> None:
    """Dies when half of the model's files are there."""
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    def half(self: Any, local_dir: str, artifact_path: str | None = None) -> None:
        Path(self.artifact_dir).mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(local_dir) / "MLmodel", self.artifact_dir)
        os._exit(DEAD)

    LocalArtifactRepository.log_artifacts = half
    decide(home, None)


def seen(home: Path) -> dict[str, Any]:
    """The registry and the experiment, without ids and times."""
    settings = at(home)
    client = mlflow_store.client(settings)
    experiment = client.get_experiment_by_name(PAPER).experiment_id
    versions = sorted(client.search_model_versions(f"name = '{NAME}'"), key=lambda version: int(version.version))
    models = client.search_logged_models([experiment])
    (run,) = client.search_runs([experiment])
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as database:
        finished = [row[0] for row in database.execute("SELECT lifecycle_stage FROM logged_models")]
    return {
        "versions": [
            [v.version, v.tags, v.run_id == run.info.run_id, v.status, v.source in {f"models:/{m.model_id}" for m in models}]
            for v in versions
        ],
        "aliases": client.get_registered_model(NAME).aliases,
        "models": sorted(
            [m.name, str(m.status), m.tags["tenfold.key"], m.params, {p.key: p.value for p in m.metrics or []}] for m in models
        ),
        "stages": finished,
        "files": sorted(sorted(p.name for p in Path(m.artifact_location.removeprefix("file://")).iterdir()) for m in models),
        "run": [run.info.status, len(run.outputs.model_outputs), run.data.metrics, run.data.params],
        "peek": registry.peek(settings, NAME),
        "decision": World(settings).store.current(PAPER, PARTITION, "champion") is not None,
    }


def main() -> None:
    folder = Path(sys.argv[1])
    any_paper(folder)
    prepare(folder / "warm")  # here, so that no fork has to import anything; its database is never touched again
    assert ended(lambda: prepare(folder / "base")) == 0

    def attempt(name: str, work: Callable[[Path], object], died: bool) -> dict[str, Any]:
        home = folder / name
        shutil.copytree(folder / "base", home)
        assert ended(lambda: work(home)) == (DEAD if died else 0), name

        def again() -> None:
            decide(home, None)
            (folder / f"{name}.json").write_text(json.dumps(seen(home)))

        assert ended(again) == 0, name
        return dict(json.loads((folder / f"{name}.json").read_text()))

    count = folder / "writes"
    undisturbed = attempt("undisturbed", lambda home: count.write_text(str(decide(home, None))), died=False)
    after = {str(n): attempt(str(n), lambda home, n=n: decide(home, n), died=True) for n in range(int(count.read_text()))}
    after["upload"] = attempt("upload", cut_upload, died=True)
    print(json.dumps({"undisturbed": undisturbed, "after": after}))


if __name__ == "__main__":
    main()
