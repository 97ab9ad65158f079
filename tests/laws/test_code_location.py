"""What must hold of the code location, whatever papers it has."""

import json
import subprocess
import sys

import dagster as dg
import pytest
from support import CHECKOUT, environment

from pipelines.definitions import defs
from pipelines.papers import PAPERS, modules

HEAVY = [
    "torch",
    "mlflow",
    "pandas",
    "great_expectations",
    "dvc",
    "transformers",
    "matplotlib",
    "scipy",
    "sklearn",
    "onnxruntime",
    "ray",
    "numba",
    "poselib",
    "pycolmap",
    "cv2",
]


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return defs()


def test_loading_imports_nothing_heavy() -> None:
    code = "import json, sys, pipelines.definitions as d; d.defs().resolve_asset_graph(); print(json.dumps([m for m in sys.argv[1:] if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *HEAVY], cwd=CHECKOUT, env=environment(CHECKOUT), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_mlflow_is_the_library_and_not_the_folder() -> None:
    assert not (CHECKOUT / "mlflow" / "__init__.py").exists()
    code = "import mlflow; print(mlflow.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert "site-packages" in done.stdout


def test_selection_strings_parse(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for paper in PAPERS:
        found = dg.AssetSelection.from_string(f'group:{paper} and key:"{paper}/model"+').resolve(graph)
        assert dg.AssetKey([paper, "evaluation"]) in found


def test_no_two_definitions_share_a_name(definitions: dg.Definitions) -> None:
    # what the UI's code server does; resolving lazily would not see a conflict
    definitions.get_repository_def().load_all_definitions()


def test_every_run_is_one_process(definitions: dg.Definitions) -> None:
    for paper in PAPERS:
        assert definitions.resolve_job_def(paper).executor_def.name == "in_process"


def test_everything_that_runs_by_itself_is_off(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    assert {schedule.default_status for schedule in repository.schedule_defs} == {dg.DefaultScheduleStatus.STOPPED}
    assert {sensor.default_status for sensor in repository.sensor_defs} == {dg.DefaultSensorStatus.STOPPED}
    assert {schedule.name for schedule in repository.schedule_defs} == {f"{paper}_weekly" for paper in PAPERS}
    assert {"dvc_versions", "run_failures", "scoreboard_follows"} <= {sensor.name for sensor in repository.sensor_defs}


def test_no_future_annotations_where_dagster_reads_them() -> None:
    for path in [*(CHECKOUT / "assets").glob("*.py"), *(CHECKOUT / "pipelines").glob("*.py")]:
        assert "from __future__ import annotations" not in path.read_text(), path


def test_dg_and_dagster_accept_the_code_location() -> None:
    words = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    done = subprocess.run(words, cwd=CHECKOUT, env=environment(CHECKOUT), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_modules_are_the_listed_papers() -> None:
    assert list(modules()) == PAPERS
    present = {path.stem for path in (CHECKOUT / "assets").glob("*.py")} - {"__init__", "shared", "tracked", "scoreboard"}
    assert present == set(PAPERS)
