"""COLMAP on a database written from tracks."""

import numpy as np
import pytest
from autocalibration.rivals import FOCAL, HEIGHT, WIDTH, exact, spec

from tenfold.autocalibration import chain, scenes, selfcal

SIZE = (WIDTH, HEIGHT)


def every(n: int) -> dict[tuple[int, int], np.ndarray]:
    return {pair: np.arange(n) for pair in chain.PAIRS}


@pytest.mark.parametrize("model", ["SIMPLE_PINHOLE", "SIMPLE_RADIAL"])
@pytest.mark.parametrize("motion", ["general", "orbit"])
def test_exact_tracks_give_the_focal_length(motion: scenes.Motion, model: selfcal.Model) -> None:
    x, _ = exact(motion, 1)
    found = selfcal.calibrate(x, every(x.shape[1]), SIZE, model=model)
    assert found.registered == 3 and found.models == 1 and found.points > 0.9 * x.shape[1]
    assert found.focal == pytest.approx(FOCAL, rel=2e-3) and found.principal == (WIDTH / 2, HEIGHT / 2)
    assert abs(found.k1) < 5e-3 and found.error_px < 0.05


def test_a_radial_lens_is_seen() -> None:
    from tenfold.autocalibration import geometry

    x, _ = exact("general", 2)
    bent = geometry.distort(x, np.array([FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2, 0.0]), -0.15)
    found = selfcal.calibrate(bent, every(x.shape[1]), SIZE, model="SIMPLE_RADIAL")
    assert found.k1 == pytest.approx(-0.15, abs=0.02) and found.focal == pytest.approx(FOCAL, rel=0.01)


def test_same_seed_same_answer_and_wrong_priors_are_taken() -> None:
    made = scenes.generate(spec("general", 3, 0.5))
    given = every(made.x.shape[1])
    one, two = (selfcal.calibrate(made.x, given, SIZE, seed=1) for _ in range(2))
    assert one == two
    for factor in (0.3, 3.0):
        found = selfcal.calibrate(made.x, given, SIZE, focal=factor * FOCAL, trusted=True)
        assert found.registered in (0, 2, 3)


def test_unseen_tracks_and_pairs_without_matches() -> None:
    x, _ = exact("general", 4)
    x = x.copy()
    x[2, ::2] = np.nan
    assert selfcal.calibrate(x, every(x.shape[1]), SIZE).registered == 3
    nothing = selfcal.calibrate(x, {}, SIZE)
    assert np.isnan(nothing.focal) and nothing.registered == 0
