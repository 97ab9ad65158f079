"""Scenes for the tests of the baselines: tracks of three views, their fundamental matrices, and whole datasets in a folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tenfold.autocalibration import chain, config, features, geometry, samples, scenes, two_view
from tenfold.core import tables
from tenfold.core.progress import Progress

Array = npt.NDArray[np.float64]

WIDTH, HEIGHT = 640, 480
PRINCIPAL = np.array([320.0, 240.0])
FOCAL = 700.0
BOUNDS = (0.3 * WIDTH, 4.0 * WIDTH)


def spec(
    motion: scenes.Motion, seed: int, noise: float = 0.0, outliers: float = 0.0, points: int = 80, focal: float = FOCAL
) -> scenes.SceneSpec:
    k = (focal, focal, float(PRINCIPAL[0]), float(PRINCIPAL[1]), 0.0)
    jitter = 0.05 if motion == "jittered_orbit" else 0.0
    return scenes.SceneSpec(seed, motion, points, 3, WIDTH, HEIGHT, k, noise, outliers, jitter=jitter)


def exact(motion: scenes.Motion, seed: int, focal: float = FOCAL) -> tuple[Array, Array]:
    """Image points (3, n, 2) without noise and the true fundamental matrices (3, 3, 3) of the pairs 01, 02, 12."""
    made = scenes.generate(spec(motion, seed, focal=focal))
    F = [geometry.fundamental(made.k, *geometry.relative(made.R, made.t, i, j)) for i, j in chain.PAIRS]
    return made.clean, np.array(F)


def measured(motion: scenes.Motion, seed: int, noise: float) -> Array:
    """Fundamental matrices (3, 3, 3) of the pairs, estimated from noisy points."""
    x = scenes.generate(spec(motion, seed, noise)).x
    found = [two_view.fundamental_ransac(x[i], x[j], 2.0, 0)[0] for i, j in chain.PAIRS]
    return np.stack([np.full((3, 3), np.nan) if F is None else F for F in found])


def dataset(folder: Path, specs: dict[str, scenes.SceneSpec]) -> Path:
    """A dataset's folder with `features` in it."""
    rows = []
    (folder / "tracks").mkdir(parents=True)
    for name, each in specs.items():
        scene = scenes.generate(each).scene(name)
        assert scene.tracks is not None
        (folder / "tracks" / f"{name}.parquet").write_bytes(samples.parquet(scene.tracks))
        for index, view in enumerate(scene.views):
            rows.append({**samples.view_row(scene, name, index, view), "tracks_path": f"tracks/{name}.parquet"})
    tables.write(pa.Table.from_pylist(rows, samples.SAMPLES_SCHEMA), folder / "samples.parquet")
    block = config.Features(threshold_px=2.0, max_keypoints=1000, min_matches=15, seed=0)
    features.run(folder, folder, block, folder / "features", Progress())
    return folder


def block(methods: Sequence[str], **changed: object) -> config.Baselines:
    values: dict[str, object] = {
        "methods": list(methods), "costly": [], "costly_scenes": 0, "threshold_px": 2.0, "triplets": 4, "colmap_seconds": 60, "seed": 0,
    }  # fmt: skip
    return config.Baselines(**(values | changed))  # type: ignore[arg-type]
