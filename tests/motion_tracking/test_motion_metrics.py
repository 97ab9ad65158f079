"""Rows of the metrics table: means and slices, intervals, the pairs behind the claims."""

import numpy as np
import pytest

from tenfold.core import metrics as core
from tenfold.motion_tracking import columns, metrics
from tenfold.motion_tracking.clips import Clip
from tenfold.motion_tracking.metrics import Resamples, Result

ABOUT = {"paper": "motion_tracking", "dataset": "demo", "partition": "demo", "model_key": "k", "data_version": "v"}
CLIPS = [
    Clip(f"c{i}", "test", "real" if i % 2 else "generated", "s", "p", "", "kick" if i == 3 else "walk", "neutral", 0, 100 * (i + 1), (0.0,) * 16)
    for i in range(6)
]  # fmt: skip
NAMES = ("mpjpe", "mpjre", "mpjve", "jitter", "l_pe", "r_pe", "bone_error")


def result(method: str, level: float, sensors: str, variant: str = "", seed: int = 0, noise: str = "clean", **changed: float) -> Result:
    rng = np.random.default_rng(5)
    base = {name: level * (1 + rng.random(len(CLIPS))) for name in NAMES}
    return Result(method, variant, seed, sensors, noise, {name: values * changed.get(name, 1.0) for name, values in base.items()})


def every() -> list[Result]:
    found = []
    for i, each in enumerate(columns.MASKS):
        found += [result("ours", 3.0 - i, each, seed=seed) for seed in (0, 1)]
        found += [result("ours", 4.0 - i, each, "one_lstm"), result("ours", 3.5 - i, each, "reference")]
        found += [result("ours", 3.3 - i, each, noise="consumer")]
        found += [result(m, 6.0, each, jitter=4.0) for m in ("ridge", "ridge_yaw", "mean_pose")]
    return found


def rows() -> dict[tuple[str, str, int, str, str], core.Row]:
    measured = metrics.measure(every(), CLIPS, ABOUT, 200, 0)
    assert core.to_table(measured).num_rows == len(measured)
    return {(r.method, r.variant, r.seed, r.slice, r.metric): r for r in measured}


def test_slices_are_written_in_one_order() -> None:
    assert metrics.slice_of() == metrics.slice_of(noise="clean") == "all"
    assert metrics.slice_of(source="real", sensors="hmd", noise="harsh") == "noise=harsh,sensors=hmd,source=real"


def test_means_over_clips_sets_and_frames() -> None:
    found = rows()
    by_set = [result("ours", 3.0 - i, each).clips["mpjpe"] for i, each in enumerate(columns.MASKS)]
    assert found["ours", "", 0, "sensors=hmd", "mpjpe"].value == pytest.approx(by_set[0].mean())
    assert found["ours", "", 0, "all", "mpjpe"].value == pytest.approx(np.mean(by_set))
    assert found["ours", "", 1, "sensors=hmd,source=real", "mpjpe"].value == pytest.approx(by_set[0][1::2].mean())
    assert found["ours", "", 0, "kind=kick,sensors=hmd", "mpjpe"].value == pytest.approx(by_set[0][3])
    weights = [c.length for c in CLIPS]
    assert found["ours", "", 0, "sensors=hmd", "mpjpe_frames"].value == pytest.approx(np.average(by_set[0], weights=weights))
    assert found["ours", "", 0, "sensors=hmd", "mpjpe_frames"].n == sum(weights)
    assert (found["ours", "", 0, "all", "mpjpe"].scale, found["ours", "", 0, "all", "mpjpe"].better) == ("cm", "down")


def test_pairs_are_ratios_of_the_means() -> None:
    found = rows()
    hmd, two, three = (result("ours", 3.0 - i, each).clips for i, each in enumerate(columns.MASKS))
    assert found["ours", "", 0, "all", "l_pe_hmd_over_2imus"].value == pytest.approx(hmd["l_pe"].mean() / two["l_pe"].mean())
    assert found["ours", "", 1, "source=real", "r_pe_2imus_over_3imus"].value == pytest.approx(
        two["r_pe"][1::2].mean() / three["r_pe"][1::2].mean()
    )
    assert found["ridge", "", 0, "sensors=hmd", "mpjpe_ours_over"].value == pytest.approx(0.5)
    assert found["ridge_yaw", "", 1, "sensors=hmd_2imus", "jitter_ours_over"].value == pytest.approx(2.0 / 24.0)
    assert found["mean_pose", "", 0, "sensors=hmd_3imus", "bone_error_ours_over"].value == pytest.approx(1 / 6)
    assert found["ours", "", 0, "noise=consumer,sensors=hmd", "mpjpe_over_clean"].value == pytest.approx(1.1)
    # what is compared with a variant is the reference, which has as many steps
    assert found["ours", "one_lstm", 0, "sensors=hmd", "mpjpe_full_over_this"].value == pytest.approx(3.5 / 4.0)
    assert ("ours", "reference", 0, "all", "mpjpe_full_over_this") not in found


def test_proportional_numbers_have_a_pair_without_spread() -> None:
    """Resampled together: a ratio that is the same on every clip has no interval, the means have one."""
    found = rows()
    pair = found["ridge", "", 0, "sensors=hmd", "mpjpe_ours_over"]
    assert pair.lo == pytest.approx(0.5) and pair.hi == pytest.approx(0.5)
    mean = found["ours", "", 0, "sensors=hmd", "mpjpe"]
    assert mean.lo is not None and mean.hi is not None and mean.lo < mean.value < mean.hi  # type: ignore[operator]


def test_resamples_are_the_same_for_all_and_cover_like_a_bootstrap() -> None:
    first, again = Resamples(500, 0).counts([0, 2, 4]), Resamples(500, 0).counts([0, 2, 4])
    np.testing.assert_array_equal(first, again)
    assert (first.sum(axis=1) == 3).all()
    values = np.random.default_rng(0).normal(0, 1, 40)
    drawn = metrics.means(values, Resamples(4000, 0).counts(range(40)))
    assert drawn.std() == pytest.approx(values.std() / np.sqrt(40), rel=0.06)


def test_missing_values_are_left_out_or_said() -> None:
    one, two = result("ours", 1.0, "hmd"), result("ours", 2.0, "hmd", noise="harsh")
    two.clips["mpjpe"][2] = np.nan  # type: ignore[index]
    one.clips["mpjve"][:] = np.nan  # type: ignore[index]
    found = {(r.slice, r.metric): r for r in metrics.measure([one, two], CLIPS, ABOUT, 50, 0)}
    keep = [0, 1, 3, 4, 5]
    assert found["noise=harsh,sensors=hmd", "mpjpe"].value == pytest.approx(two.clips["mpjpe"][keep].mean())
    assert found["noise=harsh,sensors=hmd", "mpjpe_over_clean"].value == pytest.approx(2.0)
    assert found["sensors=hmd", "mpjve"].value is None and found["sensors=hmd", "mpjve"].reason
    assert not any(where == "all" for where, _ in found)


def test_headline_is_the_mean_of_seeds_and_needs_all_sensor_sets() -> None:
    found = metrics.headline(every(), CLIPS, 200, 0)
    wanted = np.mean([result("ours", 3.0 - i, each).clips["mpjpe"] for i, each in enumerate(columns.MASKS)])
    assert found["value"] == pytest.approx(wanted) and found["seeds"] == 2
    assert metrics.headline([result("ours", 1.0, "hmd")], CLIPS, 10, 0)["value"] is None
