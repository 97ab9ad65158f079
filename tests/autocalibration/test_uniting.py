"""Roots of one order of views and points, completed by those of another one."""

import numpy as np

from tenfold.autocalibration.equations import unknowns_of
from tenfold.autocalibration.nearest import Nearest
from tenfold.autocalibration.problems import keeping_all_but
from tenfold.autocalibration.tracker import FAR, FOUND, STEP, Tracks
from tenfold.autocalibration.uniting import united

PROBLEM = keeping_all_but(3, 4, "none", ((1, 0, 1),))


def test_a_missing_root_comes_from_another_order_once_and_what_is_no_root_does_not() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 3, 4, 2))
    here = Nearest(x, np.array([[0, 1, 2]]), np.array([[0, 1, 2, 3]]))
    seats, order = np.array([2, 0, 1]), np.array([3, 1, 0, 2])
    there = Nearest(x[:, seats][:, :, order], seats[None], order[None])
    junk = rng.standard_normal((1, 3, PROBLEM.unknowns)) + 0j
    status = np.array([[FOUND, FAR, STEP]], dtype=np.int8)
    solves = np.ones((1, 3), dtype=np.int64)
    tracks = Tracks(junk, status, solves)
    got = united(PROBLEM, here, tracks, there, Tracks(junk, np.full_like(status, FOUND), solves))
    np.testing.assert_array_equal(got.status, status)
    np.testing.assert_array_equal(got.solves, 2)

    # equal depths everywhere solve the equations of equal views
    x = np.repeat(x[:, :1], 3, axis=1)
    here, there = Nearest(x, here.views, here.points), Nearest(x[:, seats][:, :, order], there.views, there.points)
    root = unknowns_of(PROBLEM, np.zeros(0), np.tile(rng.uniform(1, 2, 4), (3, 1)))
    depths = np.concatenate([[1.0], root[:3].real])[order]
    moved = unknowns_of(PROBLEM, np.zeros(0), np.tile(depths, (3, 1)))
    others = Tracks(np.stack([moved, moved, junk[0, 2]])[None], np.full_like(status, FOUND), solves)
    got = united(PROBLEM, here, tracks, there, others)
    np.testing.assert_array_equal(got.status, [[FOUND, FAR, FOUND]])
    np.testing.assert_allclose(got.ends[0, 2], root, atol=1e-12)
    again = united(PROBLEM, here, Tracks(got.ends, np.array([[STEP, FAR, FOUND]], dtype=np.int8), solves), there, others)
    np.testing.assert_array_equal(again.status, [[STEP, FAR, FOUND]])
