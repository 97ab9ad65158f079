"""The numbers of each asset, typed. Values stand in `params.yaml`, never here.

Field by field meaning: docs/papers/autocalibration.md, "Options". `MEMORY` names the numbers that an asset's need of memory follows.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Make:
    """The demo generator. `scenes`: for each motion, noise (px) and jitter; `special`: for each critical motion, at `special_noise_px`.

    `outlier_ratio`: wrong matches in every pair; `heavy_tail`: share of observations with four times the noise; `quantise_px`: 0 for none.
    """

    scenes: int
    special: int
    views: int
    points: int
    noise_px: list[float]
    jitter: list[float]
    special_noise_px: float
    outlier_ratio: float
    heavy_tail: float
    quantise_px: float
    width: int
    height: int
    seed: int


@dataclass(frozen=True)
class Dataset:
    """What is refused: fewer views of one camera than `min_views`, a scene that loses more than `max_dropped` of its observations.

    More than the share `max_quarantine` of the images in the quarantine stops the import.
    """

    min_views: int
    max_dropped: float
    max_quarantine: float


@dataclass(frozen=True)
class Features:
    """Epipolar verification of each pair (px), matching of photos."""

    MEMORY: ClassVar = ("max_keypoints",)

    threshold_px: float
    max_keypoints: int
    min_matches: int
    seed: int


@dataclass(frozen=True)
class Taxonomy:
    """Problems that are enumerated, by id."""

    problems: list[str]
    seed: int


@dataclass(frozen=True)
class Model:
    """Start systems of `solvers`; problems of which all relaxations get their degree from every seed.

    `stale`: loops without a new solution before monodromy stops; `candidates`: start images of which the cheapest on `validation` real
    images is kept. `stored`: problems whose start system is kept with the code (see `starts`) and not searched for, with its sha256. The
    rest is how the served model estimates: samples and triplets a scene, inlier threshold (px).
    """

    MEMORY: ClassVar = ("solvers",)

    solvers: list[str]
    stored: dict[str, str]
    degrees: list[str]
    seeds: list[int]
    stale: int
    candidates: int
    validation: int
    samples: int
    threshold_px: float
    triplets: int


@dataclass(frozen=True)
class Baselines:
    """Same tracks, same threshold (px), triplets a scene and refinement for all; COLMAP stops after `colmap_seconds` a scene.

    Methods in `costly` run on the first `costly_scenes` scenes of every motion and noise only.
    """

    methods: list[str]
    costly: list[str]
    costly_scenes: int
    threshold_px: float
    triplets: int
    colmap_seconds: int
    seed: int


@dataclass(frozen=True)
class Evaluation:
    """Samples a triplet, inlier threshold (px), triplets a scene, seeds; `assume` names the solver of the method `ours`.

    `others` are further solvers, each with the number of scenes of general motion at 0.5 px (the first ones) that it runs on, and
    `others_samples` their samples a triplet. `exact` and `exact_others` (by solver) count the noise-free scenes of C3 and C8. Of motions,
    noises and jitters on which no claim rests the first `beside_scenes` scenes are calibrated (0: all). `priors` are the wrong first
    focals of C7, as factors of COLMAP's own, tried on the first `prior_scenes` made scenes.
    """

    MEMORY: ClassVar = ("bootstrap",)

    assume: Literal["focal", "focal2v", "square", "zero_skew", "full"]
    samples: int
    threshold_px: float
    triplets: int
    seeds: list[int]
    others: dict[str, int]
    others_samples: dict[str, int]
    beside_scenes: int
    exact: int
    exact_others: dict[str, int]
    priors: list[float]
    prior_scenes: int
    bootstrap: int


@dataclass(frozen=True)
class Report:
    """How many scenes of photographs are shown with their tracks, and how many tracks a photograph."""

    MEMORY: ClassVar = ("gallery",)

    gallery: int
    tracks: int


@dataclass(frozen=True)
class Champion:
    """Least gain of the headline, a relative focal error (0.001: a tenth of a percent), that moves the alias."""

    least_gain: float
