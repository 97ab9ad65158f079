"""One part's maps and score, by the networks or by a baseline, and the thresholds calibrated on good parts.

The same functions serve calibration, evaluation and prediction, so that a score means the same everywhere.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tenfold.crossmodal_anomaly import baselines, maps
from tenfold.crossmodal_anomaly.fast import distances_fast
from tenfold.crossmodal_anomaly.maps import Array, Combine, MapOptions
from tenfold.crossmodal_anomaly.model import CrossModal
from tenfold.crossmodal_anomaly.operators import Operators, PartFeatures, operators


@dataclass(frozen=True)
class Scored:
    """Smoothed maps `(size, size)`, not normalised (see `maps.normalise`), and the part's score from each."""

    maps: dict[str, Array]
    scores: dict[str, float]


def network_distances(network: CrossModal, part: PartFeatures, depth: int = 0, made: Operators | None = None) -> tuple[Array, Array]:
    """d2 and d3 `(pixels,)` at the feature mask's pixels; `depth` 0 is the unpruned one."""
    made = made or operators(part)
    tokens2d, tokens3d = part.tokens2d[depth or part.depth], part.tokens3d[depth or part.depth]
    with torch.inference_mode():
        d2, d3 = distances_fast(
            network,
            torch.from_numpy(tokens2d.reshape(-1, tokens2d.shape[-1])),
            torch.from_numpy(tokens3d),
            made.interpolate,
            made.spread,
        )
    return d2.numpy(), d3.numpy()


def score_network(
    network: CrossModal,
    part: PartFeatures,
    options: MapOptions,
    depth: int = 0,
    combines: Sequence[Combine] = (),
    made: Operators | None = None,
) -> Scored:
    """Maps and scores of the networks, one for each of `combines` (none named: `options.combine`)."""
    made = made or operators(part)
    d2, d3 = network_distances(network, part, depth, made)
    size = part.valid.shape[0]
    images: dict[str, Array] = {
        how: maps.render(maps.combine(d2, d3, how), made.mask, options, size) for how in combines or (options.combine,)
    }
    return Scored(images, {how: maps.image_score(image, options.score_norm) for how, image in images.items()})


def score_bank(
    bank: "baselines.Bank",
    part: PartFeatures,
    options: MapOptions,
    methods: Sequence["baselines.Method"] = (),
    made: Operators | None = None,
) -> Scored:
    """Maps and scores of the baselines named (none named: all of them). `made` are the operators of the bank's grid."""
    made = made or operators(part, bank.grid)
    f2, f3 = bank.features(part, made)
    size = part.valid.shape[0]
    images: dict[str, Array] = {}
    scores: dict[str, float] = {}
    for method in methods or baselines.METHODS:
        values, factor = bank.score(method, f2, f3)
        images[method] = maps.render(values.numpy(), made.mask, options, size)
        scores[method] = factor * maps.image_score(images[method], options.score_norm)
    return Scored(images, scores)


@dataclass(frozen=True)
class Calibration:
    """Thresholds from held-out good parts. A part is anomalous if its score is above `image_threshold`, a pixel likewise.

    `note` says what the number of parts allows to promise. `scores` are those parts' scores by id.
    """

    image_threshold: float
    pixel_threshold: float
    note: str
    scores: dict[str, float]


def calibrate(scores: Mapping[str, float], pixels: Array, image_quantile: float, pixel_quantile: float) -> Calibration:
    """Thresholds from good parts' scores and from the values `(pixels,)` of their maps at pixels that carry a point.

    The image threshold is the k-th smallest score with k = ceil((n + 1) quantile): for exchangeable good parts a new one lies above it with
    probability at most 1 - quantile (split conformal prediction). With too few parts k exceeds n: the largest score is taken, and the note
    says which rate that bounds.
    """
    ordered = np.sort(np.array(list(scores.values()), np.float64))
    n = len(ordered)
    # 1e-9: ceil of a product such as 20 * 0.95 must not count the last digit of the float
    rank = math.ceil((n + 1) * image_quantile - 1e-9)
    wanted = f"1 in {1 / (1 - image_quantile):.3g}"
    if rank <= n:
        note = f"at most {wanted} good parts is expected above the image threshold ({n} held-out good parts)"
    else:
        needed = math.ceil(image_quantile / (1 - image_quantile) - 1e-9)
        note = f"{n} held-out good parts bound the false alarms by 1 in {n + 1} only; {wanted} needs {needed} of them"
    return Calibration(
        float(ordered[min(rank, n) - 1]),
        float(np.quantile(pixels, pixel_quantile, method="higher")),
        note,
        dict(scores),
    )
