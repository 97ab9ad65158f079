"""The tracker in torch follows the same paths as the compiled one (here on the processor)."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from tenfold.autocalibration import exact, monodromy, taxonomy
from tenfold.autocalibration.equations import random_image, random_scene
from tenfold.autocalibration.nearest import nearest
from tenfold.autocalibration.solving import normalised
from tenfold.autocalibration.start_system import StartSystem
from tenfold.autocalibration.tracker import FAST, FOUND, SOLVES, Options, Tracks, track

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def start() -> StartSystem:
    return monodromy.find(taxonomy.choose("2V6P-f"), 0, 4)[0]


# Torch pays for every step of the longest path, whatever their number: the few long ones end here.
SHORT = replace(FAST, most=300)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def same(ours: Tracks, theirs: Tracks) -> None:
    """Nearly all ends agree: steps that are decided by the last bits may lead a path elsewhere."""
    both = (ours.status == FOUND) & (theirs.status == FOUND)
    assert (ours.status == theirs.status).mean() > 0.9 and both.mean() > 0.3
    size = np.maximum(1.0, np.abs(ours.ends).max(axis=-1))
    assert ((np.abs(ours.ends - theirs.ends).max(axis=-1) / size)[both] < 1e-6).mean() > 0.95
    assert np.median(np.abs(theirs.solves[both] / ours.solves[both] - 1)) < 0.02, "the same control takes the same steps"


def test_the_same_ends_as_the_compiled_tracker(start: StartSystem) -> None:
    rng = np.random.default_rng(1)
    targets = np.stack([random_image(start.problem, rng) for _ in range(4)])
    same(*(track(start.problem, start.base, start.solutions, targets, SHORT, device=device) for device in ("cpu", "torch:cpu")))


@pytest.mark.slow
def test_the_same_ends_of_real_images(start: StartSystem) -> None:
    image = normalised(exact.instances(start.problem, 4, 3).x, np.array(exact.SIZE) / 2)[0]
    targets = nearest("f", image, start.base).x.astype(complex)
    same(*(track(start.problem, start.base, start.solutions, targets, SHORT, device=device) for device in ("cpu", "torch:cpu")))


@pytest.mark.slow
def test_three_views() -> None:
    three = taxonomy.choose("3V4P-f")
    rng = np.random.default_rng(0)
    base, first = random_scene(three, rng)
    targets = np.stack([base + 0.1 * random_image(three, rng) for _ in range(10)])
    same(*(track(three, base, first[None], targets, SHORT, device=device) for device in ("cpu", "torch:cpu")))


def test_no_path_is_lost_silently(start: StartSystem) -> None:
    target = random_image(start.problem, np.random.default_rng(2))
    hurried = track(start.problem, start.base, start.solutions, target[None], Options(most=5), device="torch:cpu")
    assert (hurried.status == SOLVES).all() and (hurried.solves == 5).all()
    target[0, 0, 0] = np.nan
    assert (track(start.problem, start.base, start.solutions, target[None], FAST, device="torch:cpu").status != FOUND).all()
