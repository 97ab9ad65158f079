"""What waiting threads cost: a training step of the demo of crossmodal_anomaly with OpenMP's threads asleep or spinning between their tasks.

    python benchmarks/threads.py [--steps 30] [--turns 3]

Each setting of the environment runs `--steps` steps (batches of 4 parts of 1100 pixels, 176 and 73 channels) in a process of its own, after a
few that do not count; the settings take turns. Milliseconds on the clock of the best and the median step, CPU seconds for ten steps. The
clock is what is asked for here, so other programs count: the machine's load is shown, nothing is judged. Prints one JSON object.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

THREADS = 2
# Of libgomp, which waits in all of PyTorch's wheels for Linux.
SETTINGS: dict[str, dict[str, str]] = {
    "default": {},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    **{f"GOMP_SPINCOUNT={count}": {"GOMP_SPINCOUNT": str(count)} for count in (1000, 10000, 30000)},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
WARM = 5


def steps(count: int) -> dict[str, object]:
    """Seconds on the clock of each step, CPU seconds of all, in this process."""
    import torch
    from crossmodal_anomaly import part

    from tenfold.crossmodal_anomaly.model import CrossModal, losses
    from tenfold.crossmodal_anomaly.operators import dense

    torch.manual_seed(0)
    rows = [torch.cat([torch.from_numpy(f)] * 4) for f in dense(part((176, 73), 224, 56, 768))]
    network = CrossModal(176, 73)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    seconds, cpu = [], 0.0
    for step in range(WARM + count):
        if step == WARM:
            cpu = time.process_time()
        began = time.monotonic()
        optimizer.zero_grad()
        losses(*network.cosines(*rows))["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seconds.append(time.monotonic() - began)
    return {"seconds": seconds[WARM:], "cpu_s": time.process_time() - cpu}


def child(setting: dict[str, str], count: int) -> dict[str, object]:
    """`steps` in a process with this environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, __file__, "--child", "--steps", str(count)]
    done = subprocess.run(command, env={**kept, "OMP_NUM_THREADS": str(THREADS), **setting}, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def main() -> int:
    """Print the numbers of all settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(steps(args.steps)))
        return 0
    load = [os.getloadavg()[0]]
    found: dict[str, list[dict[str, object]]] = {name: [] for name in SETTINGS}
    for _ in range(args.turns):
        for name, setting in SETTINGS.items():
            found[name].append(child(setting, args.steps))
        load.append(os.getloadavg()[0])
    told = {}
    for name, runs in found.items():
        seconds = [each for run in runs for each in run["seconds"]]  # type: ignore[attr-defined]
        cpu = sum(float(run["cpu_s"]) for run in runs)  # type: ignore[arg-type]
        told[name] = {
            "best_ms": 1e3 * min(seconds),
            "median_ms": 1e3 * statistics.median(seconds),
            "cpu_s_10_steps": 10 * cpu / len(seconds),
        }
    print(json.dumps({"threads": THREADS, "load": load, "settings": told}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
