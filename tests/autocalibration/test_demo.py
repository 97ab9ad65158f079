"""The demo's plan: how many scenes of what, the same places at each noise, numbers that give no dataset."""

from dataclasses import replace

import numpy as np
import pytest

from tenfold.autocalibration import demo
from tenfold.autocalibration.config import Make
from tenfold.core.errors import UsageError

MAKE = Make(
    scenes=3, special=2, views=3, points=30, noise_px=[0.0, 0.5], jitter=[0.05], special_noise_px=0.5, outlier_ratio=0.2, heavy_tail=0.0,
    quantise_px=0.0, width=640, height=480, seed=0,
)  # fmt: skip


def test_the_plan_names_every_scene_once() -> None:
    names = [name for name, _ in demo.plan(MAKE)]
    assert len(names) == len(set(names)) == 2 * 2 * 3 + 3 + 4 * 2
    assert {"general-0px-00", "orbit-0.5px-02", "jittered_orbit-0.05-0.5px-01", "rotation-0.5px-01"} <= set(names)


def test_scenes_are_drawn_when_read_and_follow_their_arguments_only() -> None:
    first = {each.name: each for each in demo.pending(MAKE)}
    more = {each.name: each for each in demo.pending(replace(MAKE, scenes=5, noise_px=[0.5, 1.0]))}
    for name in ("general-0.5px-02", "orbit-0.5px-00"):
        one, two = first[name].read(), more[name].read()
        assert one.tracks is not None and two.tracks is not None and one.tracks.table().equals(two.tracks.table())


def test_focal_lengths_differ_between_scenes_and_not_between_noises() -> None:
    focal = {name: spec.k[0] for name, spec in demo.plan(MAKE)}
    assert focal["general-0px-01"] == focal["orbit-0.5px-01"] != focal["general-0px-02"]
    many = [spec.k[0] / 640 for _, spec in demo.plan(replace(MAKE, scenes=40, special=0, noise_px=[0.5], jitter=[]))]
    assert 0.66 <= min(many) < 0.8 and 1.3 < max(many) <= 1.5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scenes": 0, "special": 0}, "over 0"),
        ({"width": 10}, "64 px"),
        ({"noise_px": []}, "noise_px"),
        ({"noise_px": [0.5, 0.5]}, "once"),
    ],
)
def test_numbers_that_give_no_dataset(change: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        demo.plan(replace(MAKE, **change))  # type: ignore[arg-type]


def test_three_views_hold_the_focal_length_of_an_orbit() -> None:
    """Two views of a fixating orbit do not; the demo's claim on it would otherwise be void. Linearised, points eliminated."""
    specs = [spec for name, spec in demo.plan(replace(MAKE, scenes=6, points=100, noise_px=[0.5], jitter=[], special=0))]
    for spec in specs:
        made = demo.scenes.generate(replace(spec, outlier_ratio=0.0))
        three, two = (_sd(made, views) / spec.k[0] for views in ([0, 1, 2], [0, 1]))
        assert three < 0.06
        if spec.motion == "orbit":
            assert two > 10 * three


def _sd(made: demo.scenes.Synthetic, views: list[int]) -> float:
    """Predicted deviation (px) of the focal length at 0.5 px of noise."""
    R, t, k, X = made.R[views], made.t[views], made.k, made.X
    free = 1 + 6 * (len(views) - 1)

    def image(change: np.ndarray, points: np.ndarray) -> np.ndarray:
        camera = k.copy()
        camera[:2] += change[0]
        turned, moved = R.copy(), t.copy()
        for view in range(1, len(views)):
            part = change[6 * view - 5 : 6 * view + 1]
            size = float(np.linalg.norm(part[:3]))
            turned[view] = (demo.scenes.rotation(part[:3], np.rad2deg(size)) if size else np.eye(3)) @ R[view]
            moved[view] += part[3:]
        return demo.scenes.project(camera, turned, moved, points)[0].reshape(len(points), -1)

    def slope(step: np.ndarray, points: np.ndarray) -> np.ndarray:
        return np.asarray(image(step[:free], X + points) - image(-step[:free], X - points)) / 2

    steps = np.array([1e-2] + [1e-6] * (free - 1))
    outer = np.stack([slope(np.eye(free)[i] * steps[i], np.zeros(3)) / steps[i] for i in range(free)], -1)
    inner = np.stack([slope(np.zeros(free), np.eye(3)[i] * 1e-6) / 1e-6 for i in range(3)], -1)
    q, _ = np.linalg.qr(inner)
    rest = outer - q @ (q.swapaxes(-1, -2) @ outer)
    information = np.einsum("nij,nik->jk", rest, rest)
    # the scale is free: hold the largest coordinate of the second view's translation
    kept = [i for i in range(free) if i != 4 + int(np.argmax(np.abs(t[1])))]
    return 0.5 * float(np.sqrt(abs(np.linalg.inv(information[np.ix_(kept, kept)])[0, 0])))
