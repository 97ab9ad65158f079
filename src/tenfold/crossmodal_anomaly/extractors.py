"""The two frozen extractors of a recipe, and how one prepared part becomes tokens (CFM, section 3.1)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tenfold.core.errors import BadData, UsageError
from tenfold.crossmodal_anomaly import config, covariance, fpfh
from tenfold.crossmodal_anomaly.geometry import Indices, farthest_points, interpolation_weights, nearest_neighbours
from tenfold.crossmodal_anomaly.operators import PartFeatures

Floats = NDArray[np.float32]
Tokens = dict[int, Floats]


class Extractor2d(Protocol):
    """(S, S, 3) uint8 to {depth: (h, w, C2) float32}."""

    name: str
    sha256: str

    def __call__(self, rgb: NDArray[np.uint8]) -> Tokens: ...


class Extractor3d(Protocol):
    """Points (N, 3) m, centres (G,) and neighbours (G, k), both indices into the points, to {depth: (G, C3) float32}."""

    name: str
    sha256: str

    def __call__(self, points: Floats, centres: Indices, neighbours: Indices) -> Tokens: ...


class FPFHCovariance:
    """Hand-made geometry tokens: 33 FPFH bins and the 40-value covariance descriptor. Needs no weights and no training.

    Supports follow from `neighbours`: histograms over the disc of as many pixels, normals over half its radius.
    """

    name = "fpfh_covariance"
    sha256 = ""

    def __init__(self, neighbours: int) -> None:
        self.reach = fpfh.reach(neighbours)

    def describe(self, xyz: Floats, valid: NDArray[np.bool_], centres: Indices, near: Indices, far: NDArray[np.float64]) -> Floats:
        """Organised cloud (S, S, 3), its mask, centres (G,), their neighbours and distances (G, k) to tokens (G, 73)."""
        normal = fpfh.normals(xyz, valid, int(self.reach / 2))
        histograms = fpfh.fpfh(fpfh.spfh(xyz, valid, normal, self.reach), centres, near, far)
        return np.concatenate([histograms, covariance.covariance(xyz[valid], centres, near)], axis=1)


@dataclass(frozen=True)
class Extractors:
    """The two frozen extractors and how they are used."""

    block: config.Features
    colour: Extractor2d
    geometry: Extractor3d | FPFHCovariance

    def extract(self, rgb: NDArray[np.uint8], xyz: Floats, valid: NDArray[np.bool_] | None = None) -> PartFeatures:
        """Features of one prepared part: rgb (S, S, 3) uint8, xyz (S, S, 3) float32 metres, zeros where there is no point.

        `valid` (S, S) may say which pixels count; default: finite and not all zero. Raises BadData without any point. Fewer points than
        `block.centres` lower the number of centres.
        """
        size = self.block.size
        if rgb.shape != (size, size, 3) or xyz.shape != (size, size, 3):
            raise BadData(f"features take ({size}, {size}, 3) images and clouds, not {rgb.shape} and {xyz.shape}: prepare the part first.")
        valid = np.isfinite(xyz).all(-1) & (xyz != 0).any(-1) if valid is None else valid
        points = np.ascontiguousarray(xyz[valid])
        if not len(points):
            raise BadData("the part has no 3D point left; crossmodal features need both modalities.")
        chosen = farthest_points(points, self.block.centres)
        near, far = nearest_neighbours(points, points[chosen], self.block.neighbours)
        if isinstance(self.geometry, FPFHCovariance):
            tokens3d = {self.block.depth_3d: self.geometry.describe(xyz, valid, chosen, near, far)}
        else:
            tokens3d = self.geometry(points, chosen, near)
        nn_idx, nn_w = interpolation_weights(points, points[chosen])
        depth, tokens2d = self.block.depth_2d, self.colour(rgb)
        full = tokens3d[self.block.depth_3d]
        return PartFeatures(
            grid=self.block.grid,
            depth=depth,
            tokens2d={d: tokens2d[d] for d in (depth, *self.block.pruned)},
            # One number prunes both; an extractor without layers to prune keeps its full tokens.
            tokens3d={depth: full, **{d: tokens3d.get(d, full) for d in self.block.pruned}},
            centres=points[chosen],
            nn_idx=nn_idx,
            nn_w=nn_w,
            valid=valid,
        )


def load_extractors(block: config.Features, weights: Path) -> Extractors:
    """The extractors a recipe names; `weights` is the folder with the weight files the user brought.

    Raises UsageError for depths or modes an extractor does not have, BadData for missing or wrong weights.
    """
    from tenfold.crossmodal_anomaly import weights as files

    if any(d >= block.depth_2d for d in block.pruned):
        raise UsageError(f"features.pruned {block.pruned}: every pruned depth must be below depth_2d = {block.depth_2d}.")
    if block.offset < 0:
        raise UsageError(f"features.offset is {block.offset}; it is a length: 0 (the angle alone, as the paper) or more.")
    colour: Extractor2d
    if block.extractor_2d == "efficientnet_lite0":
        from tenfold.crossmodal_anomaly.efficientnet_lite import EfficientNetLite0Tokens

        path = files.user(weights, block.weights_2d, block.extractor_2d) if block.weights_2d else None
        colour = EfficientNetLite0Tokens(depth=block.depth_2d, pruned=block.pruned, path=path)
    else:
        from tenfold.crossmodal_anomaly.dino import DinoTokens

        colour = DinoTokens(files.user(weights, block.weights_2d, block.extractor_2d), depth=block.depth_2d, pruned=block.pruned)
    geometry: Extractor3d | FPFHCovariance
    if block.extractor_3d == "fpfh_covariance":
        if block.extractor_mode != "eval":
            raise UsageError("features.extractor_mode: official_train exists for point_mae only; use eval with fpfh_covariance.")
        geometry = FPFHCovariance(block.neighbours)
    else:
        from tenfold.crossmodal_anomaly.point_mae import PointMAETokens

        geometry = PointMAETokens(
            files.user(weights, block.weights_3d, block.extractor_3d),
            depth=block.depth_3d,
            pruned=block.pruned,
            mode=block.extractor_mode,
            seed=block.seed,
        )
    return Extractors(block, colour, geometry)
