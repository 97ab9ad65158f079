"""COLMAP's incremental mapping with one shared camera whose focal length it refines: baseline 7 of the paper's section 6.

A database is written from the tracks and their verified pairs, so that COLMAP sees what every other method sees. `pycolmap` runs it with
one thread and a fixed seed. The first guess of the focal length is COLMAP's own (1.2 times the longer side) or any other (claim C7).
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Model = Literal["SIMPLE_PINHOLE", "SIMPLE_RADIAL"]

DEFAULT_FOCAL = 1.2  # of the longer side


@dataclass(frozen=True)
class Mapped:
    """The camera of COLMAP's largest model: focal length and principal point in px (NaN: no model), k1, registered images, points,
    mean reprojection error in px, models found."""

    focal: float
    principal: tuple[float, float]
    k1: float
    registered: int
    points: int
    error_px: float
    models: int


def calibrate(
    x: Array,
    pairs: Mapping[tuple[int, int], npt.NDArray[np.int64]],
    size: tuple[int, int],
    *,
    focal: float | None = None,
    trusted: bool = False,
    principal: tuple[float, float] | None = None,
    model: Model = "SIMPLE_PINHOLE",
    seed: int = 0,
    threshold_px: float = 4.0,
    max_seconds: int = 60,
) -> Mapped:
    """Map a scene and return the refined camera.

    Args:
        x: tracks (V, n, 2) px, the centre of the top left pixel at (0.5, 0.5); NaN: not seen.
        pairs: verified matches by pair (i, j), i < j: indices of tracks.
        size: width, height in px.
        focal: first guess in px; None: COLMAP's default.
        trusted: marks the guess as known from the camera, as EXIF data would.
        principal: px; None: the centre. COLMAP keeps it.
        threshold_px: largest reprojection error of a kept observation.
        max_seconds: COLMAP is stopped then, with what it has.
    """
    import pycolmap

    width, height = size
    f = DEFAULT_FOCAL * max(width, height) if focal is None else float(focal)
    cx, cy = (width / 2, height / 2) if principal is None else principal
    parameters = [f, cx, cy] if model == "SIMPLE_PINHOLE" else [f, cx, cy, 0.0]
    level = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = 3
    try:
        with tempfile.TemporaryDirectory() as folder:
            database = Path(folder, "database.db")
            camera = pycolmap.Camera(model=model, width=width, height=height, params=parameters)
            camera.has_prior_focal_length = trusted
            _write(database, x, pairs, camera)
            pycolmap.set_random_seed(seed)
            found = pycolmap.incremental_mapping(database, folder, folder, _options(seed, threshold_px, max_seconds, len(x)))
    finally:
        pycolmap.logging.minloglevel = level
    return _best(list(found.values()))


def _options(seed: int, threshold_px: float, max_seconds: int, views: int) -> Any:
    """COLMAP's defaults, but for small scenes, one thread, no colours and our threshold."""
    import pycolmap

    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads, options.random_seed = 1, seed
    options.mapper.num_threads, options.mapper.random_seed, options.triangulation.random_seed = 1, seed, seed
    options.extract_colors = False
    options.min_model_size = min(3, views)
    options.max_num_models = 3
    options.max_runtime_seconds = max_seconds
    options.mapper.init_min_num_inliers = 30
    options.mapper.abs_pose_min_num_inliers = 15
    options.mapper.filter_max_reproj_error = threshold_px
    return options


def _write(path: Path, x: Array, pairs: Mapping[tuple[int, int], npt.NDArray[np.int64]], camera: Any) -> None:
    """A COLMAP database of one camera: a view's keypoints are its tracks."""
    import pycolmap

    with pycolmap.Database.open(path) as database:
        number = database.write_camera(camera)
        camera.camera_id = number
        keypoint = np.full(x.shape[:2], -1, dtype=np.int64)
        ids = []
        rig = pycolmap.Rig()
        rig.add_ref_sensor(camera.sensor_id)
        rig.rig_id = database.write_rig(rig)
        for view in range(len(x)):
            image = pycolmap.Image(name=f"{view:05d}", camera_id=number)
            image.image_id = database.write_image(image)
            ids.append(image.image_id)
            frame = pycolmap.Frame()
            frame.rig_id = rig.rig_id
            frame.add_data_id(image.data_id)
            database.write_frame(frame)
            seen = np.flatnonzero(np.isfinite(x[view]).all(axis=1))
            keypoint[view, seen] = np.arange(len(seen))
            database.write_keypoints(image.image_id, x[view, seen].astype(np.float32))
        for (i, j), tracks in sorted(pairs.items()):
            matches = np.stack([keypoint[i, tracks], keypoint[j, tracks]], axis=1)
            matches = matches[(matches >= 0).all(axis=1)].astype(np.uint32)
            if not len(matches):
                continue
            geometry = pycolmap.TwoViewGeometry()
            geometry.config = pycolmap.TwoViewGeometryConfiguration.UNCALIBRATED
            geometry.inlier_matches = matches
            database.write_matches(ids[i], ids[j], matches)
            database.write_two_view_geometry(ids[i], ids[j], geometry)


def _best(models: list[Any]) -> Mapped:
    if not models:
        return Mapped(np.nan, (np.nan, np.nan), np.nan, 0, 0, np.nan, 0)
    model = max(models, key=lambda each: (each.num_reg_images(), each.num_points3D()))
    (camera,) = model.cameras.values()
    values = [float(value) for value in camera.params]
    return Mapped(
        values[0], (values[1], values[2]), values[3] if len(values) > 3 else 0.0,
        model.num_reg_images(), model.num_points3D(), float(model.compute_mean_reprojection_error()), len(models),
    )  # fmt: skip
