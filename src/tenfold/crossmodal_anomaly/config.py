"""The numbers of each asset, typed. Values stand in `params.yaml`, never here.

Field by field meaning: docs/papers/crossmodal_anomaly.md, "Options". `MEMORY` names the numbers that an asset's need of memory follows.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Make:
    """The demo generator: parts per split, image side (px), seed and the knobs of the falsifiability runs."""

    train: int
    validation: int
    good: int
    per_defect: int
    side: int
    seed: int
    difficulty: float
    independent_colour: bool


@dataclass(frozen=True)
class Dataset:
    """How the user's folder is read. `light` is Eyecandies' image number."""

    xyz_unit: Literal["m", "mm"]
    max_quarantine: float
    max_nonfinite: float
    light: int


@dataclass(frozen=True)
class Prepared:
    """Plane removal, padding, clustering, resizing (paper, supplementary; lengths in metres, sizes in px)."""

    MEMORY: ClassVar = ("size",)

    size: int
    pad_multiple: int
    plane: Literal["optional", "required", "off"]
    plane_threshold_m: float
    plane_cut_m: float
    plane_draws: int
    plane_sample: int
    plane_border_px: int
    plane_min_inliers: float
    cluster_eps_m: float
    cluster_min_points: int
    keep: Literal["largest", "multi"]
    keep_fraction: float
    split_warning: float
    min_points: int
    max_quarantine: float
    validity: Literal["finite", "official"]
    seed: int


@dataclass(frozen=True)
class Features:
    """The two frozen extractors and the grid on which both feature maps end."""

    MEMORY: ClassVar = ("size", "centres")

    extractor_2d: Literal["efficientnet_lite0", "dino_vitb8"]
    extractor_3d: Literal["fpfh_covariance", "point_mae"]
    extractor_mode: Literal["eval", "official_train"]
    size: int
    grid: int
    centres: int
    neighbours: int
    depth_2d: int
    depth_3d: int
    pruned: list[int]
    norm: Literal["none", "standardise"]
    offset: float
    weights_2d: dict[str, str]
    weights_3d: dict[str, str]
    seed: int


@dataclass(frozen=True)
class Model:
    """Training of the two mappers, their variants and the calibration; how the served network makes its maps.

    `shots` and `pixels_per_part`: 0 means all.
    """

    MEMORY: ClassVar = ("batch", "pixels_per_part")

    seeds: list[int]
    epochs: int
    lr: float
    batch: int
    mapper: Literal["standard", "deep"]
    pixels_per_part: int
    shots: int
    variants: list[str]
    variants_on: list[str]
    variant_seeds: list[int]
    few_shot_steps: int
    validate_every: int
    image_quantile: float
    pixel_quantile: float
    checkpoint_every: int
    combine: Literal["product", "sum", "max", "d2_only", "d3_only"]
    smoothing: Literal["boxes", "none"]
    score_norm: Literal["none", "official"]
    missing: Literal["zero", "neighbour"]


@dataclass(frozen=True)
class Baselines:
    """Memory banks and the cheap rivals. `grid` (px) is the side of the map whose pixels are patches."""

    MEMORY: ClassVar = ("coreset", "grid")

    grid: int
    coreset: float
    projection: int
    shots: list[int]
    variants_on: list[str]
    variant_seeds: list[int]
    ridge: float
    reweight: int
    seed: int


@dataclass(frozen=True)
class Evaluation:
    """How maps become scores and scores become metrics."""

    MEMORY: ClassVar = ("bootstrap",)

    ties: Literal["flat", "ramp"]
    smoothing: Literal["boxes", "none"]
    combine: Literal["product", "sum", "max", "d2_only", "d3_only"]
    score_norm: Literal["none", "official"]
    missing: Literal["zero", "neighbour"]
    bootstrap: int
    timing_repeats: int
    seed: int


@dataclass(frozen=True)
class Report:
    """How many pictures: parts a defect kind in the gallery, best and worst parts."""

    MEMORY: ClassVar = ("gallery",)

    gallery: int
    extremes: int


@dataclass(frozen=True)
class Champion:
    """Least gain of the headline metric over the present champion."""

    least_gain: float
