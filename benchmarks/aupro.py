"""AUPRO, exact at every threshold, against a plain loop over 99 thresholds and all regions, on the same maps in one run.

    python benchmarks/aupro.py [--parts 110] [--side 224]

Prints one JSON object. `exact_error` is the largest difference from a full trapezoid over all distinct thresholds (global sort), at every
limit; `points_error` is how far the 99 points are from it. Exit code 1 if it is not twice as fast as the loop, or not exact to 1e-10.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from tenfold.crossmodal_anomaly import aupro


def scene(parts: int, side: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Smooth maps with an exactly zero background on 60 % of the pixels; four of five parts carry one to four defects."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:side, :side] / side - 0.5
    inside = np.hypot(yy, xx) < 0.357
    maps = np.zeros((parts, side, side), np.float32)
    masks = np.zeros((parts, side, side), bool)
    for i in range(parts):
        coarse = rng.gamma(2.0, 0.1, (side // 8, side // 8)).astype(np.float32)
        maps[i] = np.kron(coarse, np.ones((8, 8), np.float32))[:side, :side] + 0.02 * rng.random((side, side), np.float32)
        for _ in range(rng.integers(1, 5) if i % 5 else 0):
            y, x = rng.uniform(-0.2, 0.2, 2)
            spot = np.hypot(yy - y, xx - x) < rng.uniform(0.01, 0.05)
            masks[i] |= spot
            maps[i] += np.float32(rng.uniform(0.0, 0.6)) * spot
        maps[i] *= inside
    return maps, masks


def loop_99(maps: np.ndarray, masks: np.ndarray, limits: tuple[float, ...], points: int = 99) -> dict[float, float]:
    """The plain way: thresholds equally spaced in rank, one comparison a threshold, one mean a region and threshold."""
    labels = [aupro.regions(m) for m in masks]
    ok = np.sort(maps[~masks])
    fpr, pro = [], []
    for position in np.linspace(0, ok.size - 1, points).astype(int)[::-1]:
        covered = []
        for one, (label, k) in zip(maps, labels, strict=True):
            above = one > ok[position]
            covered += [above[label == r].mean() for r in range(1, k + 1)]
        fpr.append((ok.size - 1 - position) / ok.size)
        pro.append(np.mean(covered))
    return {x: aupro.curve_area(np.array(fpr), np.array(pro), x) for x in limits}


def full_trapezoid(maps: np.ndarray, masks: np.ndarray, limits: tuple[float, ...]) -> dict[float, float]:
    """All distinct thresholds by one global sort; a tie is a step (flat)."""
    weight = np.zeros(maps.shape)
    total = 0
    for i, m in enumerate(masks):
        label, k = aupro.regions(m)
        total += k
        sizes = np.bincount(label.ravel())
        weight[i] = np.where(m, 1.0 / sizes[label], 0.0)
    order = np.argsort(-maps.ravel(), kind="stable")
    score, w, ok = maps.ravel()[order], weight.ravel()[order] / total, ~masks.ravel()[order]
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True))
    fpr, pro = np.append(0.0, np.cumsum(ok)[last] / ok.sum()), np.append(0.0, np.cumsum(w)[last])
    steps = [(np.clip(fpr[1:], None, x) - np.clip(fpr[:-1], None, x), x) for x in limits]
    return {x: float((width * pro[:-1]).sum() / x) for width, x in steps}


def timed(work: Callable[[], dict[float, float | None]], repeats: int) -> tuple[dict[float, float | None], float]:
    """Result and median seconds."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds)


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=110)
    parser.add_argument("--side", type=int, default=224)
    args = parser.parse_args()
    maps, masks = scene(args.parts, args.side)
    exact, seconds = timed(lambda: aupro.aupro(maps, masks), repeats=3)
    points, loop_seconds = timed(lambda: dict(loop_99(maps, masks, aupro.LIMITS)), repeats=1)
    truth = full_trapezoid(maps, masks, aupro.LIMITS)
    error = max(abs((exact[x] or 0.0) - truth[x]) for x in aupro.LIMITS)
    result = {
        "parts": args.parts,
        "side": args.side,
        "seconds": round(seconds, 3),
        "loop_99_seconds": round(loop_seconds, 3),
        "ratio": round(loop_seconds / seconds, 2),
        "exact_error": error,
        "points_error": {f"{x:g}": round(abs((points[x] or 0.0) - truth[x]), 4) for x in aupro.LIMITS},
        "aupro": {f"{x:g}": round(truth[x], 4) for x in aupro.LIMITS},
    }
    print(json.dumps(result))
    return 0 if error <= 1e-10 and loop_seconds >= 2 * seconds else 1


if __name__ == "__main__":
    sys.exit(main())
