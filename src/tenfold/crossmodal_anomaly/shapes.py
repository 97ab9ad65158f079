"""The two demo parts as height fields with albedo: a chocolate-chip biscuit and a turned peg, with and without a defect.

A surface is drawn on a square metric grid that lies on the table. Geometry and colour are correlated (chips are dark and
raised, grooves and beads are painted) without either one determining the other. All lengths are metres.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tenfold.crossmodal_anomaly.config import Make

Array = NDArray[np.float32]

STEP_M = 0.45e-3
CELLS = 360
FIELD_M = {"biscuit": 0.115, "peg": 0.100}
DEFECTS = ("bump", "dent", "hole", "mismatch", "stain")
_AXIS = ((np.arange(CELLS) - (CELLS - 1) / 2) * STEP_M).astype(np.float32)


@dataclass(frozen=True)
class Surface:
    """A part on the table: `height` (n, n) above the table, linear `albedo` (n, n, 3), `defect` mask (n, n) bool.

    `field_m` is the width of the table that the camera sees, `gloss` the strength of the highlight.
    """

    height: Array
    albedo: Array
    defect: NDArray[np.bool_]
    field_m: float
    gloss: float


@dataclass(frozen=True)
class Mark:
    """A chip or a ring: where it is, how far it stands out (< 0: recessed), its colour, and which of the two it really has."""

    x: float
    y: float
    half_length: float
    half_width: float
    angle: float
    relief: float
    colour: Array
    raised: bool = True
    painted: bool = True


def noise(rng: np.random.Generator, *bands: tuple[float, float, float]) -> list[Array]:
    """Unit-variance noise fields (n, n), one for each (length along, length across, angle) band, all from one FFT of white noise."""
    spectrum = fft.rfft2(rng.standard_normal((CELLS, CELLS), dtype=np.float32))
    fy = fft.fftfreq(CELLS, STEP_M).astype(np.float32)[:, None]
    fx = fft.rfftfreq(CELLS, STEP_M).astype(np.float32)[None, :]
    fields = []
    for along, across, angle in bands:
        fu, fv = _turned(fx, fy, angle)
        power = (fu * along) ** 2 + (fv * across) ** 2
        shaped = fft.irfft2(spectrum * (power * np.exp(-power)), s=(CELLS, CELLS))
        fields.append((shaped / shaped.std()).astype(np.float32))
    return fields


def surface(category: str, defect: str, make: Make, rng: np.random.Generator) -> Surface:
    """One part of `category` ("biscuit" or "peg"); `defect` is "good" or one of `DEFECTS`."""
    return CATEGORIES[category](defect, make, rng)


def biscuit(defect: str, make: Make, rng: np.random.Generator) -> Surface:
    """A dome with a wavy outline, bake relief at two scales and 7 to 12 raised dark chips."""
    sx, sy = rng.uniform(-0.004, 0.004, 2)
    x, y = _AXIS[None, :] - np.float32(sx), _AXIS[:, None] - np.float32(sy)
    radius = rng.uniform(0.0345, 0.039)
    theta = np.arctan2(y, x)
    waves = [(k, rng.normal(0, 0.022) / k**0.7, rng.uniform(0, 2 * math.pi)) for k in range(2, 8)]
    outline = radius * (1 + sum(a * np.cos(k * theta + p) for k, a, p in waves))
    rho = np.hypot(x, y) / outline
    inside = rho < 1
    coarse, fine, freckles = noise(rng, (6.0e-3, 6.0e-3, 0.0), (1.6e-3, 1.6e-3, 0.0), (3.0e-3, 3.0e-3, 0.0))
    relief = 0.30e-3 * coarse + 0.13e-3 * fine
    rim = np.sqrt(np.clip(1 - rho**6, 0, None))
    height = rng.uniform(8.0e-3, 10.0e-3) * rim + rng.uniform(2.5e-3, 4.0e-3) * np.clip(1 - rho**2, 0, None) + relief * rim

    dough = _tint((0.60, 0.37, 0.17), (0.05, 0.06, 0.08), rng)
    # Raised dough browns more; half of the tone is the oven's own, so that relief does not determine colour.
    tone = 1 - 0.10 * coarse - 0.045 * fine - 0.085 * freckles
    browning = np.clip((rho - 0.55) / 0.45, 0, 1) ** 2
    albedo = dough * np.clip(tone, 0.45, 1.5)[..., None] * (1 - browning[..., None] * np.array([0.38, 0.48, 0.52], np.float32))

    chips = _with_mismatch(_independent(_chips(rng, radius, sx, sy), make, rng), defect, rng)
    wrong = np.zeros(inside.shape, bool)
    for chip in chips:
        rows, columns, d = _local(chip)
        if chip.raised:
            bulge = np.sqrt(np.clip(1 - d**2, 0, None)) * np.clip((1 - d) / 0.12, 0, 1) ** 0.5
            height[rows, columns] += chip.relief * bulge - 0.8 * relief[rows, columns] * (d < 1)
        if chip.painted:
            cover = np.clip((1.04 - d) / 0.08, 0, 1)[..., None]
            gleam = 1 + 0.10 * freckles[rows, columns][..., None]
            albedo[rows, columns] = albedo[rows, columns] * (1 - cover) + cover * chip.colour * gleam
        if chip.raised != chip.painted:
            wrong[rows, columns] |= d < 1
    height[~inside] = 0
    table = _table(rng)
    albedo = np.where(inside[..., None], albedo, table)
    whole = Surface(height, albedo, wrong & (defect == "mismatch"), FIELD_M["biscuit"], 0.03)

    def spot() -> tuple[float, float]:
        r, a = radius * 0.62 * math.sqrt(rng.uniform()), rng.uniform(0, 2 * math.pi)
        return sx + r * math.cos(a), sy + r * math.sin(a)

    # A hole goes through to the table.
    return _damage(whole, defect, spot, np.zeros_like(height), table, make, rng)


def peg(defect: str, make: Make, rng: np.random.Generator) -> Surface:
    """A turned wooden peg, half sunk in its tray: dark red grooves, blue beads, grain along the axis, rounded ends."""
    sx, sy = rng.uniform(-0.002, 0.002, 2)
    turn = rng.uniform(0, 2 * math.pi)
    u, v = _turned(_AXIS[None, :] - np.float32(sx), _AXIS[:, None] - np.float32(sy), turn)
    radius, half, end = rng.uniform(0.0185, 0.0200), rng.uniform(0.039, 0.042), 0.009
    grain, fine, patches = noise(rng, (14.0e-3, 1.1e-3, turn), (4.0e-3, 0.8e-3, turn), (8.0e-3, 8.0e-3, 0.0))
    relief = 0.06e-3 * grain + 0.04e-3 * fine
    profile = radius * np.sqrt(np.clip(1 - np.clip((np.abs(u) - half + end) / end, 0, 1) ** 2, 0, None)) + relief * (np.abs(u) < half)

    wood = _tint((0.62, 0.43, 0.24), (0.05, 0.06, 0.08), rng)
    tone = 1 - 0.09 * grain - 0.05 * fine - 0.07 * patches
    albedo = wood * np.clip(tone, 0.5, 1.5)[..., None]
    rings = _with_mismatch(_independent(_rings(rng, half - end), make, rng), defect, rng)
    wrong = np.zeros(u.shape, bool)
    for ring in rings:
        near = np.nonzero(np.abs(u - ring.x) < 1.1 * ring.half_width)
        d = np.abs(u[near] - ring.x) / ring.half_width
        if ring.raised:
            profile[near] += ring.relief * np.sqrt(np.clip(1 - d**2, 0, None)) * np.clip((1 - d) / 0.25, 0, 1)
        if ring.painted:
            cover = np.clip((1.05 - d) / 0.15, 0, 1)[:, None] * 0.92
            albedo[near] += cover * (ring.colour * (1 + 0.05 * patches[near][:, None]) - albedo[near])
        if ring.raised != ring.painted:
            wrong[near] |= d < 1
    height = np.sqrt(np.clip(profile**2 - v**2, 0, None))
    inside = height > 0
    albedo = np.where(inside[..., None], albedo, _table(rng))
    whole = Surface(height, albedo, wrong & inside & (defect == "mismatch"), FIELD_M["peg"], 0.10)

    def spot() -> tuple[float, float]:
        a, b = rng.uniform(-0.75, 0.75) * (half - end), rng.uniform(-0.55, 0.55) * radius
        return sx + a * math.cos(turn) - b * math.sin(turn), sy + a * math.sin(turn) + b * math.cos(turn)

    # A drilled hole: blind, its walls in shadow.
    floor = np.clip(height - rng.uniform(7.0e-3, 12.0e-3), 0, None)
    return _damage(whole, defect, spot, floor, albedo * np.float32(0.35), make, rng)


CATEGORIES: dict[str, Callable[[str, Make, np.random.Generator], Surface]] = {"biscuit": biscuit, "peg": peg}


def _chips(rng: np.random.Generator, radius: float, sx: float, sy: float) -> list[Mark]:
    wanted = int(rng.integers(7, 13))
    chips: list[Mark] = []
    while len(chips) < wanted:
        r, a = radius * 0.78 * math.sqrt(rng.uniform()), rng.uniform(0, 2 * math.pi)
        long = rng.uniform(3.2e-3, 5.2e-3)
        chip = Mark(
            x=sx + r * math.cos(a),
            y=sy + r * math.sin(a),
            half_length=long,
            half_width=long * rng.uniform(0.65, 1.0),
            angle=rng.uniform(0, math.pi),
            relief=rng.uniform(1.2e-3, 2.2e-3),
            colour=_tint((0.085, 0.042, 0.026), 0.15, rng),
        )
        if all(math.hypot(chip.x - c.x, chip.y - c.y) > 0.85 * (chip.half_length + c.half_length) for c in chips):
            chips.append(chip)
        elif rng.uniform() < 0.02:
            wanted -= 1  # no room left: settle for fewer rather than never end
    return chips


def _rings(rng: np.random.Generator, reach: float) -> list[Mark]:
    count = int(rng.integers(4, 7))
    rings = []
    for slot in np.linspace(-reach, reach, count).tolist():
        groove = rng.uniform() < 0.5
        rings.append(
            Mark(
                x=slot + rng.uniform(-1.8e-3, 1.8e-3),
                y=0.0,
                half_length=math.inf,
                half_width=rng.uniform(1.7e-3, 2.6e-3),
                angle=0.0,
                relief=rng.uniform(0.9e-3, 1.5e-3) * (-1 if groove else 1),
                colour=_tint((0.26, 0.045, 0.035) if groove else (0.05, 0.11, 0.30), 0.10, rng),
            )
        )
    return rings


def _independent(marks: list[Mark], make: Make, rng: np.random.Generator) -> list[Mark]:
    """With `independent_colour`, relief and paint are drawn apart: no crossmodal relation is left to learn."""
    if not make.independent_colour:
        return marks
    tints = rng.permutation(len(marks))
    return [
        replace(mark, raised=bool(rng.uniform() < 0.7), painted=bool(rng.uniform() < 0.7), colour=marks[tint].colour)
        for mark, tint in zip(marks, tints, strict=True)
    ]


def _with_mismatch(marks: list[Mark], defect: str, rng: np.random.Generator) -> list[Mark]:
    """One mark loses its relief or its paint: each modality alone still looks nominal."""
    if defect != "mismatch":
        return marks
    chosen, keeps_relief = int(rng.integers(len(marks))), bool(rng.uniform() < 0.5)
    return [replace(m, raised=keeps_relief, painted=not keeps_relief) if i == chosen else m for i, m in enumerate(marks)]


def _damage(
    whole: Surface,
    defect: str,
    spot: Callable[[], tuple[float, float]],
    floor: Array,
    under: Array,
    make: Make,
    rng: np.random.Generator,
) -> Surface:
    """Dent and bump change geometry only, a stain colour only, a hole both; one defect, in three of ten parts two."""
    if defect in ("good", "mismatch"):
        return whole
    height, albedo, mask = whole.height.copy(), whole.albedo.copy(), whole.defect.copy()
    for _ in range(1 + int(rng.uniform() < 0.3)):
        (x, y), long = spot(), rng.uniform(*_EXTENT_M[defect])
        rows, columns, d = _local(Mark(x, y, long, long * rng.uniform(0.6, 1.0), rng.uniform(0, math.pi), 0.0, np.zeros(3, np.float32)))
        if defect in ("dent", "bump"):
            depth = rng.uniform(1.0e-3, 2.2e-3) / make.difficulty * (1 if defect == "bump" else -1)
            kernel = np.clip(1 - d**2, 0, None) ** 2
            height[rows, columns] += depth * kernel
            mask[rows, columns] |= kernel > 0.15
        elif defect == "stain":
            ragged = d + 0.13 * np.clip(noise(rng, (6.0e-3, 6.0e-3, 0.0))[0][rows, columns], -1.5, 1.5)
            cover = np.clip((1 - ragged) / 0.25, 0, 1)
            contrast = rng.uniform(0.45, 0.80) / make.difficulty
            tint = np.array(_STAINS[int(rng.integers(len(_STAINS)))], np.float32)
            albedo[rows, columns] *= 1 - contrast * cover[..., None] * (1 - tint)
            mask[rows, columns] |= cover > 0.3
        else:
            cover = np.clip((1 - d) / 0.12, 0, 1)
            height[rows, columns] += cover * (floor[rows, columns] - height[rows, columns])
            albedo[rows, columns] += (cover[..., None] > 0) * (under[rows, columns] - albedo[rows, columns])
            mask[rows, columns] |= d < 1
    return replace(whole, height=height, albedo=albedo, defect=mask & (whole.height > 0))


_EXTENT_M = {"dent": (3.2e-3, 6.5e-3), "bump": (3.2e-3, 6.5e-3), "stain": (3.5e-3, 7.5e-3), "hole": (2.6e-3, 4.6e-3)}
_STAINS = ((0.10, 0.10, 0.12), (0.25, 0.45, 0.15), (0.15, 0.30, 0.60), (0.55, 0.10, 0.08))


def _local(mark: Mark) -> tuple[slice, slice, Array]:
    """The window of the grid around a mark and its elliptic distance there (1 on the outline)."""
    reach = 1.6 * mark.half_length
    columns, rows = (slice(*np.searchsorted(_AXIS, (centre - reach, centre + reach))) for centre in (mark.x, mark.y))
    x, y = _AXIS[None, columns] - mark.x, _AXIS[rows, None] - mark.y
    a, b = _turned(x, y, mark.angle)
    return rows, columns, np.hypot(a / mark.half_length, b / mark.half_width)


def _turned(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    """Coordinates of (x, y) along and across a direction."""
    c, s = math.cos(angle), math.sin(angle)
    return x * c + y * s, y * c - x * s


def _tint(colour: tuple[float, float, float], spread: float | tuple[float, float, float], rng: np.random.Generator) -> Array:
    """A linear RGB colour with relative jitter: one number for all channels, or one a channel."""
    tint: Array = (np.array(colour) * rng.normal(1, spread)).astype(np.float32)
    return tint


def _table(rng: np.random.Generator) -> Array:
    """Albedo of the table: matt blue-grey with a fine texture."""
    (weave,) = noise(rng, (1.2e-3, 1.2e-3, 0.0))
    return _tint((0.075, 0.085, 0.10), 0.06, rng) * (1 + 0.10 * weave[..., None])
