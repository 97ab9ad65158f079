"""The demo's camera: a pinhole over a tilted table that sees a height field, and the imperfections of a real RGB-D sensor."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from tenfold.crossmodal_anomaly.shapes import CELLS, STEP_M, Array, Surface

DISTANCE_M = 0.30
WHITE_NOISE_M, SLOW_NOISE_M = 0.06e-3, 0.04e-3
# The scanner counts in steps of 7.6 um, an eighth of its noise.
_LEAST_STEP_M = 2.0**-17
_SLOW_PX = 4.0
_FIXED_POINT_STEPS = 6
_SMALLEST_FRAGMENT_PX = 12


@dataclass(frozen=True)
class Part:
    """One scan: `rgb` (H, W, 3) uint8, `xyz` (H, W, 3) float32 in metres with zeros where there is no point, `gt` (H, W) uint8 0/255."""

    rgb: NDArray[np.uint8]
    xyz: Array
    gt: NDArray[np.uint8]


def focal_px(side: int, field_m: float) -> float:
    """Focal length (px) with which a square image of `side` px sees `field_m` of the table."""
    return side * DISTANCE_M / field_m


def photograph(surface: Surface, side: int, noise_scale: float, rng: np.random.Generator) -> Part:
    """Scan a surface with a `side` x `side` px camera; `noise_scale` multiplies every sensor noise."""
    rotation = _tilt(rng)
    eye = (-rotation.T @ np.array([0.0, 0.0, DISTANCE_M])).astype(np.float32)
    focal = focal_px(side, surface.field_m)
    axis = (np.arange(side) - side / 2) / focal
    rays = np.stack([*np.meshgrid(axis, axis), np.ones((side, side))], axis=-1)
    toward = (rays @ rotation).astype(np.float32)

    depth, steady = _intersect(surface.height, eye, toward)
    hit = _Sampler(eye[0] + depth * toward[..., 0], eye[1] + depth * toward[..., 1])
    colour, facing = _shade(surface, eye, rng)
    rgb = _expose(hit.sample(colour), noise_scale, rng)
    xyz = _scan(rays, depth, steady, hit.sample(facing), noise_scale, rng)
    gt = _without_fragments(hit.sample(surface.defect.astype(np.float32)) > 0.5)
    return Part(rgb, xyz, gt.astype(np.uint8) * 255)


class _Sampler:
    """Bilinear look-ups of grids at fixed places of the table, (H, W) coordinates in metres; the border repeats outwards."""

    def __init__(self, x: Array, y: Array) -> None:
        column = np.clip(x / STEP_M + (CELLS - 1) / 2, 0, CELLS - 1.001)
        row = np.clip(y / STEP_M + (CELLS - 1) / 2, 0, CELLS - 1.001)
        c, r = column.astype(np.int32), row.astype(np.int32)
        self._first = r * CELLS + c
        self._a, self._b = column - c, row - r

    def sample(self, grid: Array) -> Array:
        flat = grid.reshape(CELLS * CELLS, *grid.shape[2:])
        extra = (..., *(None,) * (grid.ndim - 2))
        a, b, first = self._a[extra], self._b[extra], self._first
        top, bottom = flat.take(first, 0), flat.take(first + CELLS, 0)
        top += a * (flat.take(first + 1, 0) - top)
        bottom += a * (flat.take(first + CELLS + 1, 0) - bottom)
        value: Array = top + b * (bottom - top)
        return value


def _tilt(rng: np.random.Generator) -> NDArray[np.float64]:
    """World (x, y on the table, z up) to camera (x right, y down, z forward); the table is tilted by 2 to 12 degrees."""
    a, b = np.deg2rad(rng.uniform(2, 12)), np.deg2rad(rng.uniform(-5, 5))
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    matrix: NDArray[np.float64] = about_x @ about_y @ np.diag([1.0, -1.0, -1.0])
    return matrix


def _intersect(height: Array, eye: Array, toward: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Depth (H, W) at which each ray meets the height field, by fixed-point steps, and where these have settled to 0.2 mm."""
    drop = toward[..., 2]
    z = np.zeros(drop.shape, np.float32)
    for _ in range(_FIXED_POINT_STEPS):
        depth = (z - eye[2]) / drop
        last, z = z, _Sampler(eye[0] + depth * toward[..., 0], eye[1] + depth * toward[..., 1]).sample(height)
    steady = np.abs(z - last) < 0.2e-3
    # A ray that never settles grazes a wall: its picture shows the wall's upper edge.
    return (np.where(steady, z, np.maximum(z, last)) - eye[2]) / drop, steady


def _shade(surface: Surface, eye: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Radiance (n, n, 3) of the surface under a point light, and the cosine between its normal and the camera (n, n)."""
    height = surface.height
    axis = ((np.arange(CELLS) - (CELLS - 1) / 2) * STEP_M).astype(np.float32)
    slope_y, slope_x = np.gradient(height, STEP_M)
    normal = np.stack([-slope_x, -slope_y, np.ones_like(height)], axis=-1)
    normal /= _length(normal)
    place = np.stack(np.broadcast_arrays(axis[None, :], axis[:, None], height), axis=-1)

    azimuth, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.12, 0.20)
    lamp = np.array([reach * np.cos(azimuth), reach * np.sin(azimuth), rng.uniform(0.30, 0.38)], np.float32)
    to_lamp, to_eye = lamp - place, eye - place
    far = _length(to_lamp)
    to_lamp /= far
    to_eye /= _length(to_eye)
    between = to_lamp + to_eye
    between /= _length(between)

    facing = np.einsum("ijk,ijk->ij", normal, to_eye)
    lit = np.clip(np.einsum("ijk,ijk->ij", normal, to_lamp), 0, None) * _sunlit(height, lamp) * (0.36 / far[..., 0]) ** 2
    glint = surface.gloss * np.clip(np.einsum("ijk,ijk->ij", normal, between), 0, None) ** 30 * (lit > 0)
    sky = _openness(height)
    light = 0.30 * sky + 0.85 * lit * (0.5 + 0.5 * sky)
    radiance: Array = surface.albedo * light[..., None] + glint[..., None] * lit[..., None]
    return radiance, facing


def _length(vectors: Array) -> Array:
    length: Array = np.sqrt(np.einsum("ijk,ijk->ij", vectors, vectors))[..., None]
    return length


def _openness(height: Array) -> Array:
    """Ambient occlusion: how little of the sky the surroundings hide, from the height's lead over its blurred self at two scales."""
    hidden = np.zeros_like(height)
    for width_m, weight in ((0.9e-3, 0.30), (4.0e-3, 0.70)):
        blurred = ndimage.uniform_filter(ndimage.uniform_filter(height, round(2 * width_m / STEP_M)), round(2 * width_m / STEP_M))
        hidden += weight * np.clip((blurred - height) / width_m, -0.25, 0.8)
    open_: Array = np.clip(1 - 0.75 * hidden, 0.15, 1.1)
    return open_


def _sunlit(height: Array, lamp: Array) -> Array:
    """1 in the light, 0 in cast shadow: the height field marched towards the lamp (taken as far away)."""
    flat = float(np.hypot(lamp[0], lamp[1]))
    excess = np.full_like(height, -1)
    for cells in (2, 4, 7, 11, 16, 22, 30):
        dx, dy = round(cells * lamp[0] / flat), round(cells * lamp[1] / flat)
        higher = np.roll(height, (-dy, -dx), axis=(0, 1)) - height - cells * STEP_M * lamp[2] / flat
        np.maximum(excess, higher, out=excess)
    shadow: Array = ndimage.uniform_filter(np.clip(excess / 1.0e-3 + 0.5, 0, 1), 3)
    return 1 - 0.85 * shadow


def _expose(radiance: Array, noise_scale: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Exposure and white-balance jitter, shot and read noise, gamma 2.2, 8 bits."""
    linear = radiance * (rng.uniform(1.20, 1.45) * rng.normal(1, 0.025, 3)).astype(np.float32)
    grain = rng.standard_normal(linear.shape, dtype=np.float32)
    linear += noise_scale * grain * np.sqrt(0.0025**2 + 0.00012 * np.clip(linear, 0, 1))
    return (np.clip(linear, 0, 1) ** np.float32(1 / 2.2) * 255 + 0.5).astype(np.uint8)


def _scan(
    rays: NDArray[np.float64], depth: Array, steady: NDArray[np.bool_], facing: Array, noise_scale: float, rng: np.random.Generator
) -> Array:
    """Organised cloud in camera coordinates: white and correlated depth noise, dropout where the view grazes and at random (0.3 %)."""
    side = depth.shape[0]
    white = rng.standard_normal(depth.shape, dtype=np.float32)
    f2 = fft.fftfreq(side)[:, None] ** 2 + fft.rfftfreq(side)[None, :] ** 2
    spectrum = fft.rfft2(rng.standard_normal(depth.shape, dtype=np.float32))
    slow = fft.irfft2(spectrum * np.exp(-f2 * (2 * np.pi * _SLOW_PX) ** 2 / 2), s=depth.shape)
    measured = depth + noise_scale * (WHITE_NOISE_M * white + SLOW_NOISE_M * slow / slow.std())
    grazing = rng.uniform(size=depth.shape) < np.clip((0.42 - facing) / 0.25, 0, 1)
    lost = grazing | ~steady | (rng.uniform(size=depth.shape) < 0.003)
    points = np.round(rays * (measured / _LEAST_STEP_M)[..., None]) * _LEAST_STEP_M
    return np.where(lost[..., None], 0, points).astype(np.float32)


def _without_fragments(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Drop 8-connected fragments under 12 px: AUPRO would count each as a whole region."""
    labels, count = ndimage.label(mask, np.ones((3, 3), int))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept: NDArray[np.bool_] = (sizes >= _SMALLEST_FRAGMENT_PX)[labels]
    return kept
