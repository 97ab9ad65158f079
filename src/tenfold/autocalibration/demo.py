"""The demo dataset: synthetic scenes with known truth, made offline in seconds.

General motion and fixating orbits at growing noise, the same places at each; orbits with jittered radius; a few scenes of motions
that are critical (translation, planar) or have no answer (rotation). Nothing is tuned to the method, and all methods get the same tracks.
"""

import math
from collections.abc import Iterator

import numpy as np

from tenfold.autocalibration import scenes
from tenfold.autocalibration.config import Make
from tenfold.autocalibration.samples import Scene
from tenfold.autocalibration.scenes import Motion, SceneSpec
from tenfold.autocalibration.survey import Pending
from tenfold.core.errors import UsageError

_NOISY: tuple[Motion, ...] = ("general", "orbit")
_SPECIAL: tuple[Motion, ...] = ("forward", "translation", "rotation", "planar_scene")
# Focal lengths in image widths: 74 to 37 degrees of horizontal view.
_FOCAL = (0.66, 1.5)


def plan(make: Make) -> list[tuple[str, SceneSpec]]:
    """Every scene's name and specification. Raises UsageError for numbers that give no dataset."""
    if make.scenes < 0 or make.special < 0 or make.scenes + make.special < 1 or make.seed < 0:
        raise UsageError("make: scenes and special are counts, one of them over 0; seed is 0 or more.")
    if make.width < 64 or make.height < 64 or not make.noise_px:
        raise UsageError("make: width and height are 64 px or more, noise_px names at least one noise.")
    found = []
    for motion in _NOISY:
        for noise in make.noise_px:
            found += [(f"{motion}-{noise:g}px-{index:02d}", _spec(make, motion, index, noise, 0.0)) for index in range(make.scenes)]
    noise = make.special_noise_px
    for jitter in make.jitter:
        name = f"jittered_orbit-{jitter:g}"
        found += [(f"{name}-{noise:g}px-{index:02d}", _spec(make, "jittered_orbit", index, noise, jitter)) for index in range(make.scenes)]
    for motion in _SPECIAL:
        found += [(f"{motion}-{noise:g}px-{index:02d}", _spec(make, motion, index, noise, 0.0)) for index in range(make.special)]
    if len({name for name, _ in found}) < len(found):
        raise UsageError("make: noise_px and jitter name each number once.")
    return found


def pending(make: Make) -> Iterator[Pending]:
    """The scenes of the plan, each drawn when it is read."""
    for name, spec in plan(make):
        yield Pending(name, lambda name=name, spec=spec: _draw(name, spec))  # type: ignore[misc]


def _draw(name: str, spec: SceneSpec) -> Scene:
    return scenes.generate(spec).scene(name)


def _spec(make: Make, motion: Motion, index: int, noise: float, jitter: float) -> SceneSpec:
    """Square pixels, principal point in the middle; the focal length is drawn by the scene's number alone."""
    rng = np.random.default_rng([make.seed, index])
    focal = make.width * math.exp(rng.uniform(math.log(_FOCAL[0]), math.log(_FOCAL[1])))
    k = (focal, focal, make.width / 2, make.height / 2, 0.0)
    return SceneSpec(
        make.seed * 1_000_003 + index, motion, make.points, make.views, make.width, make.height, k, noise, make.outlier_ratio,
        jitter=jitter, heavy_tail=make.heavy_tail, quantise_px=make.quantise_px,
    )  # fmt: skip
