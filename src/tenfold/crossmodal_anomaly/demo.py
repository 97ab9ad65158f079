"""The demo dataset: rendered biscuits and pegs in the official MVTec 3D-AD layout, made offline.

No defect is tuned to the method, and the same parts go to every baseline. `difficulty` divides dent and bump depth and
stain contrast and multiplies the sensor's noise. `independent_colour` draws colour and relief apart, which removes the
crossmodal relation: the claim about `mismatch` must then fail.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from tenfold.core.errors import UsageError
from tenfold.core.progress import Progress
from tenfold.crossmodal_anomaly.config import Make
from tenfold.crossmodal_anomaly.render import Part, focal_px, photograph
from tenfold.crossmodal_anomaly.shapes import CATEGORIES, DEFECTS, FIELD_M, surface

_WORTH_A_POOL = 24
_ATTEMPTS = 20


def part(category: str, split: str, defect: str, index: int, make: Make) -> Part:
    """Render one scan: rgb (side, side, 3) uint8, xyz (side, side, 3) float32 in metres, gt (side, side) uint8 0/255.

    Depends on nothing but its arguments: the same ones give the same bytes.
    """
    for attempt in range(_ATTEMPTS):
        path = json.dumps([make.seed, category, split, defect, index, attempt]).encode()
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(path).digest(), "big"))
        seen = photograph(surface(category, defect, make, rng), make.side, make.difficulty, rng)
        if defect == "good" or seen.gt.any():
            return seen
    raise UsageError(f"no {defect} is visible on a {category} of {make.side} px. Set make.side to 128 or more.")


def make(make: Make, units: Sequence[str], folder: Path, progress: Progress) -> None:
    """Write every part of `units` (demo categories) below `folder` as `<unit>/<split>/<defect>/{rgb,xyz,gt}`.

    Uses one process a core. Raises UsageError for a category that does not exist or numbers that give no dataset.
    """
    wrong = [unit for unit in units if unit not in CATEGORIES]
    if wrong or not units:
        raise UsageError(
            f"the demo makes {' and '.join(sorted(CATEGORIES))}, not {wrong[0] if wrong else 'nothing'}. Correct `units` in params.yaml."
        )
    if make.train < 1 or min(make.validation, make.good, make.per_defect) < 0 or make.side < 64 or make.difficulty <= 0:
        raise UsageError("make: train must be 1 or more, the other counts 0 or more, side 64 px or more, difficulty over 0.")
    jobs = [(folder, unit, split, defect, index, make) for unit in units for split, defect, index in _parts(make)]
    for unit in units:
        _write_camera(folder / unit, make.side, FIELD_M[unit])
    progress.stage("render", total=len(jobs))
    workers = min(os.cpu_count() or 1, len(jobs))
    with ExitStack() as stack:
        run = map
        if workers > 1 and len(jobs) >= _WORTH_A_POOL:
            # Spawn, not fork: a fork of a process with threads (Dagster, BLAS) can hang.
            run = stack.enter_context(ProcessPoolExecutor(workers, mp_context=get_context("spawn"))).map  # type: ignore[assignment]
        for _ in run(_write, jobs):
            progress.advance()


def _parts(make: Make) -> Iterator[tuple[str, str, int]]:
    plan = [("train", "good", make.train), ("validation", "good", make.validation), ("test", "good", make.good)]
    plan += [("test", defect, make.per_defect) for defect in DEFECTS]
    for split, defect, count in plan:
        for index in range(count):
            yield split, defect, index


def _write(job: tuple[Path, str, str, str, int, Make]) -> None:
    folder, unit, split, defect, index, make = job
    made = part(unit, split, defect, index, make)
    here = folder / unit / split / defect
    wanted = ("rgb", "xyz", "gt") if split == "test" else ("rgb", "xyz")
    for name in wanted:
        (here / name).mkdir(parents=True, exist_ok=True)
    Image.fromarray(made.rgb).save(here / "rgb" / f"{index:03d}.png", compress_level=4)
    tifffile.imwrite(here / "xyz" / f"{index:03d}.tiff", made.xyz, photometric="rgb", compression="deflate", predictor=3, metadata=None)
    if split == "test":
        Image.fromarray(made.gt).save(here / "gt" / f"{index:03d}.png")


def _write_camera(unit: Path, side: int, field_m: float) -> None:
    focal = focal_px(side, field_m)
    camera = {"fx": focal, "fy": focal, "cx": side / 2, "cy": side / 2, "width": side, "height": side}
    path = unit / "calibration" / "camera_parameters.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(camera, indent=2) + "\n")
