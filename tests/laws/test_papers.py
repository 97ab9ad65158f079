"""What every paper owes: the spine, its fields, its claims, its page, its demo."""

import inspect
from importlib import import_module
from pathlib import Path

import dagster as dg
import pytest
import yaml
from support import CHECKOUT

from pipelines.definitions import defs
from pipelines.papers import PAPERS, modules
from tenfold.core import params

SPINE = ["dataset", "features", "model", "evaluation", "report", "champion"]
GRAPH = defs().resolve_asset_graph()


@pytest.fixture(params=PAPERS)
def paper(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def names(paper: str) -> dict[str, dg.AssetsDefinition]:
    return {asset.key.path[-1]: asset for asset in modules()[paper].ASSETS}


def upstream(paper: str, asset: str) -> set[dg.AssetKey]:
    return set(dg.AssetSelection.assets([paper, asset]).upstream().resolve(GRAPH))


def test_the_spine_exists_and_is_connected(paper: str) -> None:
    assert set(SPINE) <= set(names(paper))
    for before, after in [
        ("dataset", "features"),
        ("features", "evaluation"),
        ("model", "evaluation"),
        ("evaluation", "report"),
        ("evaluation", "champion"),
    ]:
        assert dg.AssetKey([paper, before]) in upstream(paper, after), f"{after} does not rest on {before}"
    # a model rests on features, or on no data at all
    made_from = upstream(paper, "model")
    assert dg.AssetKey([paper, "features"]) in made_from or dg.AssetKey([paper, "dataset"]) not in made_from


def test_every_asset_has_its_fields(paper: str) -> None:
    for name, asset in names(paper).items():
        spec = asset.specs_by_key[asset.key]
        assert spec.key == dg.AssetKey([paper, name])
        assert spec.group_name == paper
        assert spec.code_version and spec.owners and spec.kinds, name
        assert spec.description and len(spec.description) > 40, f"{name}: say in a sentence what it makes"
        assert asset.partitions_def == modules()[paper].PARTS
        assert asset.op.name == f"{paper}__{name}"
        assert "dagster/code_references" in GRAPH.get(asset.key).metadata, f"{name}: no code reference"


def test_steps_and_assets_agree(paper: str) -> None:
    module = modules()[paper]
    assert [step.name for step in module.STEPS] == [asset.key.path[-1] for asset in module.ASSETS]
    for step, asset in zip(module.STEPS, module.ASSETS, strict=True):
        assert {key.path[-1] for key in asset.asset_deps[asset.key]} == set(step.after)


def test_checks_belong_to_their_partition(paper: str) -> None:
    for asset in names(paper).values():
        for spec in asset.check_specs:
            assert spec.partitions_def == modules()[paper].PARTS, spec.name
            assert spec.blocking == spec.name.startswith("contract_"), f"{spec.name}: contracts block, claims do not"


def test_claims_are_checks_of_evaluation(paper: str) -> None:
    claims = {spec.name for spec in names(paper)["evaluation"].check_specs} - {
        s.name for s in names(paper)["evaluation"].check_specs if s.blocking
    }
    assert claims and all(name.startswith("C") for name in claims)


def test_the_launchpad_shows_every_number(paper: str) -> None:
    job = defs().resolve_job_def(paper)
    module = modules()[paper]
    tree = params.load(CHECKOUT)
    for partition in module.PARTS.get_partition_keys():
        config = job.partitioned_config.get_run_config_for_partition_key(partition)
        recipe = params.datasets(tree, paper)[params.split_partition(partition)[0]].recipe
        for step in module.STEPS:
            if step.name != "dataset":
                shown = config["ops"][f"{paper}__{step.name}"]["config"]["overrides"]
                assert shown == tree[paper]["recipes"][recipe][step.name]
        dg.validate_run_config(job, config)


def test_all_recipes_fit_their_types(paper: str) -> None:
    for path in (CHECKOUT, CHECKOUT / "tests"):
        file = path / ("params.yaml" if path == CHECKOUT else "tiny.yaml")
        for recipe, blocks in yaml.safe_load(file.read_text())[paper]["recipes"].items():
            for step in modules()[paper].STEPS:
                params.typed(step.block, blocks[step.name], f"{file.name}:{recipe}.{step.name}")


def test_there_is_a_demo_and_it_needs_nothing(paper: str) -> None:
    tree = params.load(CHECKOUT)
    assert "demo" in params.datasets(tree, paper)
    assert any(params.split_partition(p)[0] == "demo" for p in params.partitions(tree, paper, CHECKOUT))
    stage = yaml.safe_load((CHECKOUT / "dvc.yaml").read_text())["stages"][paper]
    assert stage["foreach"] == f"${{{paper}.datasets}}"


def test_rooms_and_page(paper: str) -> None:
    folder = CHECKOUT / "src" / "tenfold" / paper
    for room in (
        "config",
        "data",
        "demo",
        "contract",
        "features",
        "baselines",
        "train",
        "metrics",
        "claims",
        "figures",
        "predict",
    ):
        assert (folder / f"{room}.py").exists(), room
    assert (folder / "published.csv").exists()
    page = CHECKOUT / "docs" / "papers" / f"{paper}.md"
    assert page.exists() and "## Results" in page.read_text()
    assert (CHECKOUT / "benchmarks" / f"{paper}.py").exists()
    assert (CHECKOUT / "tests" / paper).is_dir()


def test_science_rooms_answer_to_the_common_names(paper: str) -> None:
    headline = import_module(f"tenfold.{paper}.metrics").HEADLINE
    assert headline[1] in ("up", "down")
    claims = import_module(f"tenfold.{paper}.claims")
    assert list(inspect.signature(claims.judge).parameters) == ["metrics"]
    predict = import_module(f"tenfold.{paper}.predict")
    assert hasattr(predict.Predictor, "load") and hasattr(predict.Predictor, "predict") and callable(predict.add_arguments)


def test_config_has_no_defaults(paper: str) -> None:
    module = import_module(f"tenfold.{paper}.config")
    for name, cls in inspect.getmembers(module, inspect.isclass):
        if cls.__module__ == module.__name__:
            parameters = inspect.signature(cls).parameters.values()
            assert all(p.default is inspect.Parameter.empty for p in parameters), name


def test_nothing_about_a_paper_stands_outside_its_rooms() -> None:
    shared = [*(CHECKOUT / "pipelines").rglob("*.py"), *(CHECKOUT / "src" / "tenfold" / "ops").glob("*.py")]
    shared += [
        *(CHECKOUT / "src" / "tenfold" / "core").glob("*.py"),
        *(CHECKOUT / "assets" / f"{name}.py" for name in ("shared", "tracked", "scoreboard")),
    ]
    for path in shared:
        assert path.name == "papers.py" or not [paper for paper in PAPERS if paper in path.read_text()], path


def test_assets_import_their_science_inside() -> None:
    for path in Path(CHECKOUT / "assets").glob("*.py"):
        for line in path.read_text().splitlines():
            assert not line.startswith(("import torch", "from torch", "import mlflow", "import pandas", "import numpy")), (
                f"{path.name}: {line}"
            )
