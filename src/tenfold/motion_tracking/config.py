"""The numbers of each asset, typed. Values stand in `params.yaml`, never here.

Field by field meaning: docs/papers/motion_tracking.md, "Options".
"""

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Make:
    """The demo generator: generated clips a split (seconds each), bodies a split, and the real clips of the package.

    `kinds` are taken in turn. Each real training clip is written `headings` times, with its mirror image twice as often; `tremor` multiplies
    the small fast movement of a living body.
    """

    train: int
    validation: int
    test: int
    seconds: float
    subjects: dict[str, int]
    kinds: list[str]
    tremor: float
    real: bool
    headings: int
    mirror: bool
    seed: int


@dataclass(frozen=True)
class Network:
    """Shape of the network. `canonical`, `standardise`, `skip`, `poles`, `shape_alpha`, `head_dropout` are own additions, off in the paper's recipe.

    `shape_alpha`, `yaw_alpha`: 1 means no filter. `temporal_window`: frames that `transformer_window` sees, the present one with them.
    """

    hidden: int
    blocks: int
    layers: int
    heads: int
    ff: int
    dropout: float
    head_dropout: float
    head_hidden: int
    temporal: Literal["lstm", "gru", "transformer_window", "none"]
    temporal_window: int
    spatial: Literal["transformer", "none"]
    tokens: Literal["components", "one"]
    hand_in_head: bool
    shape: Literal["estimate", "zero"]
    rot6d: Literal["gram_schmidt", "cross"]
    weight_norm: bool
    canonical: Literal["none", "yaw_xy"]
    yaw_alpha: float
    standardise: bool
    skip: Literal["none", "linear"]
    skip_alphas: list[float]
    poles: int
    pole_alpha: float
    shape_alpha: float


@dataclass(frozen=True)
class Model(Network):
    """Training of the network, of its variants, and the losses' weights.

    `masks`: every window with each sensor set, or with one drawn for it. `variant_steps`: gradient steps of a variant, 0 for as many as the
    full network. `switch`: share of windows whose sensor set changes on the way. `noise`: levels of the features from which windows are drawn
    beside clean ones. `ridge`, `shape_ridge`: strength with which the linear map is held back, for poses and for the shape, of which a clip
    has but one; `fit_frames`: most frames that it is fitted to; `skip_lr`: its learning rate as a share of `lr`, 0 to leave it as fitted.
    `clip_gradient`: 0 for none. `precision`: of everything but LSTMs, `transformer_window` and the kinematics.
    """

    MEMORY: ClassVar = ("batch", "window", "hidden")

    seeds: list[int]
    variants: list[str]
    variant_seeds: list[int]
    variant_steps: int
    sensor_sets: list[str]
    masks: Literal["all", "one"]
    switch: float
    noise: list[str]
    window: int
    windows_per_clip: int
    batch: int
    epochs: int
    schedule: Literal["cosine", "steps"]
    lr: float
    skip_lr: float
    warmup_epochs: float
    drop_epoch: int
    clip_gradient: float
    precision: Literal["fp32", "bf16"]
    loss_weights: dict[str, float]
    ridge: float
    shape_ridge: float
    fit_frames: int
    validate_every: int
    checkpoint_every: int


@dataclass(frozen=True)
class Dataset:
    """Where things lie below the source (or absolute), how clips are split and brought to 60 Hz, and what is refused.

    `split`: `lists` (<splits_dir>/<Subset>/{train,test}_split.txt, Protocol 1), `by_subset` (Protocol 2) or `by_subject` (share `test` of
    the subjects). Without a list of its own the validation split is the share `validation` of the train subjects. `body`: the body that
    skeletons are judged and made on, `gendered` as in the official code. More than the share `max_quarantine` of the clips in the
    quarantine, or `max_missing` of the lists' lines without a file, stops the import.
    """

    amass_dir: str
    splits_dir: str
    body_dir: str
    split: Literal["lists", "by_subset", "by_subject"]
    test: float
    validation: float
    resample: Literal["slerp", "stride"]
    body: Literal["neutral", "gendered"]
    min_frames: int
    max_speed: float
    max_quarantine: float
    max_missing: float
    seed: int


@dataclass(frozen=True)
class Features:
    """How the IMUs' acceleration is made of positions: `central` (official; looks 4 frames ahead), `causal` or `raw` (instantaneous).

    `train_noise`, `test_noise`: noise levels (light, consumer, harsh) and conditions (causal, raw) at which rows of the train and
    validation, or of the test clips are made beside the clean ones; noisy levels rest on `noisy_acceleration`.
    """

    acceleration: Literal["central", "causal", "raw"]
    noisy_acceleration: Literal["central", "causal", "raw"]
    train_noise: list[str]
    test_noise: list[str]
    seed: int


@dataclass(frozen=True)
class Baselines:
    """Rivals: `lags` (frames) stacked behind the present one, `strength` of the ridge; the perceptron's size and training (`mlp_rows` 0: all)."""

    MEMORY: ClassVar = ("mlp_rows",)

    lags: list[int]
    strength: float
    mlp_hidden: int
    mlp_steps: int
    mlp_batch: int
    mlp_lr: float
    mlp_rows: int
    seed: int


@dataclass(frozen=True)
class Evaluation:
    """Test conditions. `clips`: test clips of each source (0: all); `noise`: levels beside clean; `stream_frames`, `bench_frames`: lengths of
    the streaming checks and of the timed stream; `chunks` (frames) in which a stream is cut; `shown`: clips kept for the report.
    """

    MEMORY: ClassVar = ("rows",)

    noise: list[str]
    clips: int
    rows: int
    bootstrap: int
    stream_frames: int
    chunks: list[int]
    bench_frames: int
    shown: int
    seed: int


@dataclass(frozen=True)
class Report:
    """Clips that the page plays, clips drawn as strips, and steps of a strip."""

    played: int
    strips: int
    steps: int


@dataclass(frozen=True)
class Champion:
    """Least gain of the headline metric over the present champion."""

    least_gain: float
