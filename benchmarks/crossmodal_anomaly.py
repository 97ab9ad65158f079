"""Inference of the mappers: the commuted, foreground-only path against plain dense evaluation, and against exact memory-bank search.

    python benchmarks/crossmodal_anomaly.py [--threads 1] [--repeats 3]

Prints one JSON object; both sides of a ratio run in turn on the same input. Times are CPU seconds, so that a busy machine does not count.
    mapping   768/1152 channels, 224 px, 35 % foreground. Plain: both mappers and distances on every pixel of dense maps that are given.
              Fast: from tokens, with the sparse operators built anew. Equal to 1e-4 at the feature mask, at least 4 times as fast.
    search    the demo's widths and grid (176/73, 56 px), a bank of 10 % of 40 parts. Mapping and scoring from tokens takes at most half
              the time of the joint bank's search (one matrix product and a minimum) and scoring, whose dense features are given.
    training  seconds for 12 epochs of 40 such parts, with the loss and the optimizer of `train`. At most 6 s.
Exit code 1 if one of them fails.
"""

import argparse
import json
import sys
import time

import numpy as np
import torch
from _turns import turns

from tenfold.crossmodal_anomaly import banks, maps
from tenfold.crossmodal_anomaly.fast import distances_fast
from tenfold.crossmodal_anomaly.maps import MapOptions
from tenfold.crossmodal_anomaly.model import CrossModal, losses
from tenfold.crossmodal_anomaly.operators import PartFeatures, dense, operators

FOREGROUND = 0.327  # of points; the feature mask, two pixels wider, then covers 35 %
OPTIONS = MapOptions("product", "boxes", "none", "zero")


def part(channels: tuple[int, int], size: int, grid: int, centres: int, seed: int = 0) -> PartFeatures:
    """A disc whose feature mask covers 35 % of the image, random tokens, neighbours among the nearest centres."""
    rng = np.random.default_rng(seed)
    place = (np.indices((size, size)) + 0.5).transpose(1, 2, 0) / size - 0.5
    valid = np.hypot(*place.transpose(2, 0, 1)) < np.sqrt(FOREGROUND / np.pi)
    points = place[valid]
    middle = points[rng.choice(len(points), centres, replace=False)]
    apart = np.concatenate([((rows[:, None] - middle) ** 2).sum(-1) for rows in np.array_split(points, 32)])
    nn_idx = np.argsort(apart, axis=1)[:, :3]
    nn_w = 1 / (np.take_along_axis(apart, nn_idx, 1) + 1e-8)
    return PartFeatures(
        grid=grid,
        depth=12,
        tokens2d={12: rng.standard_normal((28, 28, channels[0]), np.float32)},
        tokens3d={12: rng.standard_normal((centres, channels[1]), np.float32)},
        centres=np.pad(middle, ((0, 0), (0, 1))).astype(np.float32),
        nn_idx=nn_idx.astype(np.uint16),
        nn_w=(nn_w / nn_w.sum(1, keepdims=True)).astype(np.float32),
        valid=valid,
    )


def network_on(one: PartFeatures, network: CrossModal) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """d2, d3 and the mask, from tokens."""
    made = operators(one)
    tokens2d = torch.from_numpy(one.tokens2d[12].reshape(784, -1))
    d2, d3 = distances_fast(network, tokens2d, torch.from_numpy(one.tokens3d[12]), made.interpolate, made.spread)
    return d2.numpy(), d3.numpy(), made.mask


def mapping(repeats: int) -> dict[str, float]:
    """Fast path against plain dense evaluation at the paper's widths."""
    one, network = part((768, 1152), 224, 224, 1024), CrossModal(768, 1152)
    mask = torch.from_numpy(operators(one).mask)
    full = [torch.zeros(mask.numel(), rows.shape[1]) for rows in dense(one)]
    for everywhere, rows in zip(full, dense(one), strict=True):
        everywhere[mask.ravel()] = torch.from_numpy(rows)
    seconds = turns({"plain": lambda: network.distances(*full), "fast": lambda: network_on(one, network)}, repeats)
    plain = [d[mask.ravel()].numpy() for d in network.distances(*full)]
    error = max(float(np.abs(a - b).max()) for a, b in zip(plain, network_on(one, network), strict=False))
    share = float(mask.float().mean())
    return {
        "foreground": share,
        "plain_s": seconds["plain"],
        "fast_s": seconds["fast"],
        "ratio": seconds["plain"] / seconds["fast"],
        "error": error,
    }


def search(repeats: int) -> dict[str, float]:
    """Mapping and scoring against exact search and scoring at the demo's size."""
    one, network = part((176, 73), 224, 56, 768), CrossModal(176, 73)
    mask = operators(one).mask
    patches = torch.from_numpy(np.concatenate(dense(one), axis=1))
    bank = torch.randn(round(0.1 * 40 * len(patches)), patches.shape[1])

    def ours() -> float:
        d2, d3, on = network_on(one, network)
        return maps.image_score(maps.render(maps.combine(d2, d3, "product"), on, OPTIONS, 224))

    def rival() -> float:
        return maps.image_score(maps.render(banks.nearest(patches, bank)[0].numpy(), mask, OPTIONS, 224))

    seconds = turns({"network": ours, "bank": rival}, 10 * repeats)
    milli = {f"{name}_ms": 1e3 * value for name, value in seconds.items()}
    return {"bank_rows": len(bank), **milli, "ratio": seconds["network"] / seconds["bank"]}


def training(epochs: int = 12, parts: int = 40, batch: int = 4) -> dict[str, float]:
    """Time of the demo's training loop without validation."""
    rows = [torch.from_numpy(f) for f in dense(part((176, 73), 224, 56, 768))]
    network = CrossModal(176, 73)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    start = time.process_time()
    with torch.enable_grad():
        for _ in range(epochs * parts // batch):
            optimizer.zero_grad()
            losses(*network.cosines(*(torch.cat([f] * batch) for f in rows)))["loss"].backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    seconds = time.process_time() - start
    return {"seconds": seconds, "pixels_per_s": epochs * parts * len(rows[0]) / seconds}


def main() -> int:
    """Print the ratios; 0 if all targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    with torch.no_grad():
        found = {"threads": args.threads, "mapping": mapping(args.repeats), "search": search(args.repeats), "training": training()}
    met = {
        "mapping at least 4x": found["mapping"]["ratio"] >= 4,
        "equal to 1e-4": found["mapping"]["error"] <= 1e-4,
        "search at most 0.5x": found["search"]["ratio"] <= 0.5,
        "training at most 6 s": found["training"]["seconds"] <= 6,
    }
    print(json.dumps({**found, "met": met}, indent=2))
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
