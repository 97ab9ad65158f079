"""Made-up calibration tables for the tests of metrics, claims, evaluation and report."""

from typing import Any

import numpy as np
import pyarrow as pa

from tenfold.autocalibration.metrics import CALIB_SCHEMA

IDENTITY = {"paper": "autocalibration", "dataset": "demo", "partition": "demo", "model_key": "m", "data_version": "d"}
FOCAL = 800.0


def sample_rows(
    scene: str, motion: str | None = "general", noise: float | None = 0.5, jitter: float | None = None, k1: float | None = 0.0, **other: Any
) -> list[dict[str, Any]]:
    """Three views of one scene as rows of samples.parquet."""
    reference = {"ref_fx": FOCAL, "ref_fy": FOCAL, "ref_cx": 320.0, "ref_cy": 240.0, "ref_s": 0.0, "ref_k1": k1, "ref_k2": 0.0}
    shared = {
        "unit": "", "split": "all", "label": motion or "", "scene": scene, "camera": "0", "width": 640, "height": 480, **reference,
        "motion": motion, "noise_px": noise, "outlier_ratio": 0.2, "jitter": jitter, "image_path": None, "image_sha256": None,
        "image_bytes": None, "tracks_path": None, "tracks_sha256": None, "tracks_bytes": None, "warnings": "",
    }  # fmt: skip
    return [{"id": f"{scene}/{v}", "view": v, **shared, **other} for v in range(3)]


def samples(rows: list[dict[str, Any]]) -> pa.Table:
    """As a table; columns that hold no value anywhere keep a type."""
    texts = {"motion", "image_path", "image_sha256", "tracks_path", "tracks_sha256"}
    kinds = {name: pa.string() for name in texts} | {
        name: pa.float64() for name in rows[0] if name.startswith("ref_") or name in ("noise_px", "jitter")
    }
    kinds |= {name: pa.int64() for name in ("image_bytes", "tracks_bytes")}
    return pa.table({name: pa.array([r[name] for r in rows], kinds.get(name)) for name in rows[0]})


def calib_row(scene: str, method: str, f: float, *, triplet: str = "", stage: str = "refined", **other: Any) -> dict[str, Any]:
    """One row of calib.parquet: a good answer with focal length `f` (px) unless told otherwise."""
    row: dict[str, Any] = {
        "scene": scene, "triplet": triplet, "method": method, "seed": 0, "stage": stage, "kind": "f", "fx": f, "fy": f, "cx": 320.0,
        "cy": 240.0, "s": 0.0, "sd_f": 4.0, "k1": 0.0, "inliers": 100, "tracks": 150, "cost": 10.0, "cpu_s": 0.9, "hypotheses": 10,
        "roots": 660, "real": 40, "physical": 3, "lost": 7, "status": "ok", "reason": "",
    }  # fmt: skip
    return row | other


def calib(rows: list[dict[str, Any]]) -> pa.Table:
    """As a table of the schema."""
    return pa.Table.from_pylist(rows, schema=CALIB_SCHEMA)


ERRORS = {
    # method: (general, orbit) relative focal error at 1 px
    "ours": (0.006, 0.02), "bougnoux": (0.008, 0.6), "sturm": (0.010, 0.7), "focal6": (0.006, 0.5), "ba_only": (0.006, 0.03),
    "colmap": (0.007, 0.04), "sweep": (0.006, 0.3), "kruppa": (0.05, 0.4), "quadric": (0.03, 0.3),
}  # fmt: skip


def made_up(scenes: int = 12, noises: tuple[float, ...] = (0.0, 0.5, 1.0), seed: int = 0) -> tuple[pa.Table, pa.Table]:
    """Samples and calibrations of a demo on which the claims about made-up scenes hold: general, orbit, a jittered orbit, a rotation."""
    rng = np.random.default_rng(seed)
    views: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    cases = [("general", n, None) for n in noises] + [("orbit", n, None) for n in noises] + [("orbit", 0.5, 0.05)]
    for motion, noise, jitter in cases:
        for i in range(scenes):
            name = f"{motion}_{noise:g}_{jitter or 0:g}_{i:02d}"
            views += sample_rows(name, "jittered_orbit" if jitter else motion, noise, jitter)
            for method, (general, orbit) in ERRORS.items():
                level = noise * (general if motion == "general" or (jitter and method != "ours") else orbit)
                for stage in ("minimal", "refined"):
                    worse = 5.0 if method == "ours" and stage == "minimal" else 1.0
                    if method in ("bougnoux", "sturm") and stage == "refined":
                        continue
                    error = level * worse * rng.uniform(0.9, 1.1)
                    pair = "0-1" if method in ("bougnoux", "sturm", "focal6") else "0-1-2"
                    ours = method == "ours"
                    counts = {} if ours else {"hypotheses": None, "roots": None, "real": None, "physical": None, "lost": None}
                    spent = 0.9 if ours else 0.01
                    rows.append(calib_row(name, method, FOCAL * (1 + error), triplet=pair, stage=stage, cpu_s=spent, **counts))
                    if stage == "refined" or not ours:
                        rows.append(calib_row(name, method, FOCAL * (1 + error), stage=stage, cpu_s=spent, **counts))
    for i in range(3):
        name = f"rotation_0.5_0_{i:02d}"
        views += sample_rows(name, "rotation", 0.5)
        none = {
            "fx": None,
            "fy": None,
            "sd_f": None,
            "status": "degenerate_rotation",
            "reason": "a homography explains 99 % of the inliers",
        }
        rows += [calib_row(name, "ours", 0.0, triplet=t, **none) for t in ("0-1-2", "")]
        rows.append(calib_row(name, "bougnoux", 2400.0, stage="minimal"))
    return samples(views), calib(rows)


def photographs() -> tuple[pa.Table, pa.Table]:
    """One scene of five photographs, raw and undistorted: three triplets with enough tracks, one without."""
    views, rows = [], []
    for scene, k1 in (("villa_raw", -0.12), ("villa", 0.0)):
        views += sample_rows(scene, None, None, None, k1)
        for triplet, tracks, f in (("0-1-2", 145, 804.0), ("1-2-3", 119, 830.0), ("0-1-3", 79, 806.0), ("2-3-4", 42, 1300.0)):
            weak = {"status": "low_confidence", "reason": "sd of the focal length"} if tracks < 75 else {}
            raw = {"reason": "distortion_suspected: a term k1 lowers the cost by 31 %"} if k1 and tracks >= 75 else {}
            for stage in ("minimal", "refined"):
                rows.append(calib_row(scene, "ours", f * (1.2 if k1 else 1.0), triplet=triplet, tracks=tracks, stage=stage, **weak, **raw))
        rows.append(calib_row(scene, "ours", 806.0 * (1.2 if k1 else 1.0), tracks=145))
        for method, errors in (("bougnoux", (0.10, 0.08, 0.2)), ("sturm", (0.06, 0.07, 0.26)), ("focal6", (0.03, 0.04, 0.23))):
            for pair, error in zip(("0-1", "1-2", "1-3"), errors, strict=True):
                stage = "refined" if method == "focal6" else "minimal"
                rows.append(calib_row(scene, method, FOCAL * (1 + error), triplet=pair, stage=stage))
    return samples(views), calib(rows)
