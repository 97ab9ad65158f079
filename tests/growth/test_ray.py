"""A Ray cluster of two nodes on this machine: what it makes is what one process makes, also when a node dies on the way."""

import hashlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("RAY_raylet_start_wait_time_s", "240")  # on a busy machine

import pytest
import ray
import trial_stage
from ray.cluster_utils import Cluster
from support import CHECKOUT, environment

from tenfold.core import checkpoint, code, training
from tenfold.core.errors import BadData, Stopped, TenfoldError, UsageError
from tenfold.core.journal import NullJournal
from tenfold.core.progress import Event, Progress
from tenfold.core.signals import request_stop
from tenfold.core.stage import Made
from tenfold.ops import launch, ray_cluster, ray_map
from tenfold.ops.settings import Settings

TOLERANCE = 2e-6  # two workers add gradients in another order than one
STORE = 80 << 20
ANY = "tenfold.core.errors"  # a module that the nodes have, for work that is defined here
# a dead machine is noticed within two seconds rather than half a minute
WATCHFUL = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The stage of `trial_stage`, known to processes that start from here on."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield trial_stage.registered(folder)
    del sys.modules[trial_stage.NAME]


@pytest.fixture(scope="module")
def cluster(trial: ModuleType) -> Iterator[Cluster]:
    """One node; each test that wants a second one adds it."""
    head = {"num_cpus": 2, "object_store_memory": STORE, "include_dashboard": False, "_system_config": WATCHFUL}
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.fixture
def kill(cluster: Cluster) -> Iterator[Callable[[], None]]:
    """Kills the second node, which lives until then."""
    node = cluster.add_node(num_cpus=2, object_store_memory=STORE)

    def killed() -> None:
        if node in cluster.list_all_nodes():
            cluster.remove_node(node, allow_graceful=False)

    yield killed
    killed()


def settings(cluster: Cluster, home: Path) -> Settings:
    return Settings(root=CHECKOUT, home=home, engine="ray", workers=2, ray_address=cluster.address)


def at(words: str, act: Callable[[], None]) -> Callable[[Event], None]:
    """A sink of progress that acts once, at the first event whose text, or stage and count, are `words`."""
    done: list[Event] = []

    def sink(event: Event) -> None:
        if words in (event.text, f"{event.stage} {event.done}") and not done:
            done.append(event)
            act()

    return sink


def growth() -> Any:
    """The benchmark's synthetic parts and small recipe."""
    spec = importlib.util.spec_from_file_location("growth", CHECKOUT / "benchmarks" / "growth.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.slow
def test_features_of_a_cluster_that_loses_a_node_are_those_of_one_process(
    cluster: Cluster, kill: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenfold.crossmodal_anomaly import features

    parts = growth()
    (tmp_path / "prepared").mkdir()
    parts.prepared(tmp_path / "prepared", 24)
    block = parts.blocks()["features"]
    monkeypatch.setattr(features, "SHARD_BYTES", 1 << 20)
    dead: list[bool] = []
    sink = at("features 6", lambda: dead.append(kill() is None))
    for name, each in (("local", launch.each(Settings(root=CHECKOUT, home=tmp_path))), ("ray", launch.each(settings(cluster, tmp_path)))):
        features.run(tmp_path / "prepared", block, tmp_path, tmp_path / name, Progress(*[sink] * (name == "ray")), each=each)
    assert dead and len(cluster.list_all_nodes()) == 1
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert not ray.is_initialized()


def trained(trial: ModuleType, settings: Settings, folder: Path, act: str = "train", *sinks: Any) -> Made:
    folder.mkdir(exist_ok=True)
    return launch.run(
        settings, trial.run, block=trial.Block(act, 12), features=folder, scratch=folder, progress=Progress(*sinks), journal=NullJournal()
    )


@pytest.mark.slow
def test_a_training_goes_on_from_its_checkpoint_when_a_node_dies_and_when_it_is_stopped(
    trial: ModuleType, cluster: Cluster, kill: Callable[[], None], tmp_path: Path
) -> None:
    here, there = Settings(root=CHECKOUT, home=tmp_path), settings(cluster, tmp_path)
    alone = trained(trial, here, tmp_path / "alone")
    texts: list[str] = []
    sinks = (at("epoch 2", kill), lambda event: texts.append(event.text), at("epoch 6", request_stop))
    with pytest.raises(Stopped, match="everything is saved"):
        trained(trial, there, tmp_path / "ray", "slow", *sinks)
    assert not (tmp_path / "ray" / "ray").exists(), "Ray's own records are left"
    generators = checkpoint.load(tmp_path / "ray" / "training" / training.CHECKPOINT)["rng"]
    assert len(generators) == 2, "it was not trained by two processes"
    rest = trained(trial, here, tmp_path / "ray")
    assert "epoch 6" in texts and "epoch 12" not in texts
    assert rest.facts["resumed_from"] >= 6 * 6
    for one, other in zip(alone.facts["history"], rest.facts["history"], strict=True):
        assert one == pytest.approx(other, abs=TOLERANCE)


@pytest.mark.slow
def test_parts_come_in_order_few_ahead_and_errors_at_their_part(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_map, "RETRIES", 0)
    each, taken = ray_map.OverRay(settings(cluster, tmp_path)), []

    def items() -> Iterator[int]:
        for number in range(12):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        from tenfold.core.errors import BadData

        if number == 9:
            raise BadData("part 9: no points")
        return number * number

    work.__module__ = ANY
    seen = []
    with pytest.raises(BadData, match="^part 9: no points$"):
        for _, result in each(work, items()):
            seen.append(result)
            assert len(taken) - len(seen) < ray_map.AHEAD * 2
    assert seen == [number**2 for number in range(9)]

    def dying(number: int) -> int:
        import os

        os._exit(1)

    dying.__module__ = ANY
    with pytest.raises(TenfoldError, match=r"^4: its Ray worker died.*TENFOLD_WORKERS"):
        list(each(dying, [4]))


def test_a_node_with_other_code_is_refused() -> None:
    ray_cluster.same_code(ANY, code.content(ANY))
    with pytest.raises(UsageError, match="same checkout"):
        ray_cluster.same_code(ANY, "0" * 64)


def test_without_a_cluster_the_message_says_how_to_start_one(tmp_path: Path) -> None:
    nowhere = Settings(root=CHECKOUT, home=tmp_path, engine="ray", workers=2, ray_address="127.0.0.1:9")
    with pytest.raises(UsageError, match=r"no Ray cluster answers at '127.0.0.1:9'.*ray start --head"):
        next(launch.each(nowhere)(str, ["a"]))


WITHOUT = """
import sys
sys.modules["ray"] = None  # importing it fails
from pathlib import Path
from tenfold.core.journal import NullJournal
from tenfold.core.progress import Progress
from tenfold.ops import launch
from tenfold.ops.settings import Settings
settings = Settings(root=sys.argv[1], home=sys.argv[2])
assert [result for _, result in launch.each(settings)(abs, [-1, -2])] == [1, 2]
print(launch.run(settings, lambda **given: sorted(given), scratch=Path(), progress=Progress(), journal=NullJournal()))
settings = Settings(root=sys.argv[1], home=sys.argv[2], engine="ray")
launch.each(settings)
"""


def test_by_default_ray_is_neither_needed_nor_imported(tmp_path: Path) -> None:
    words = [sys.executable, "-c", WITHOUT, str(CHECKOUT), str(tmp_path)]
    done = subprocess.run(words, env=environment(tmp_path), capture_output=True, text=True)
    assert done.stdout == "['journal', 'progress', 'scratch']\n"
    assert "Ray is not installed: `pip install -e .[ray]`" in done.stderr
