"""The docs' program with ONNX Runtime and NumPy alone gives what the house gives; two such consumers share nothing."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from motion_tracking.small_live import run, swaying, write
from support import CHECKOUT

from tenfold.motion_tracking import predictor_folder, rotations
from tenfold.motion_tracking.live import Live

PROGRAM = CHECKOUT / "docs/papers/motion_tracking_step.py"
AFTER = """
import pathlib
arrays = np.load(sys.argv[2], allow_pickle=False)
R, p, a = (arrays[name] for name in "Rpa")
found = [frame(row(R[t], p[t], a[t], R[max(t - 1, 0)], p[max(t - 1, 0)]), sys.argv[3]) for t in range(len(R))]
print(json.dumps([[pose.tolist(), betas.tolist()] for pose, betas in found]))
assert not {"torch", "onnx", "tenfold"} & set(sys.modules)
"""


def test_the_docs_show_the_program_that_is_tested() -> None:
    assert f"```python\n{PROGRAM.read_text()}```\n" in PROGRAM.with_name("motion_tracking.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sensor_set", "precision", "temporal"),
    [
        ("hmd", "fp32", "lstm"),
        ("hmd_2imus", "fp32", "lstm"),
        ("hmd_3imus", "fp32", "lstm"),
        ("hmd_3imus", "int8", "lstm"),
        ("hmd_3imus", "fp32", "transformer_window"),
    ],
)
def test_the_program_of_the_docs(tmp_path: Path, sensor_set: str, precision: str, temporal: str) -> None:
    """Alone in its process; and twice beside each other, which a state in the graph would show."""
    folder = write(tmp_path / "predictor", temporal=temporal)
    readings = swaying(12)
    values = np.stack([reading.values for reading in readings])
    turned = rotations.matrix_from_quaternion(np.concatenate([values[:, :3, 3:], values[:, 3:, :4]], axis=1))
    np.savez(tmp_path / "in.npz", R=turned, p=values[:, :3, :3], a=values[:, 3:, 4:])
    parts = predictor_folder.read(folder, precision)
    live = Live(parts.step, parts.body)
    wanted = [pose for reading in readings for pose in live.push(reading, sensor_set)]
    words = [
        sys.executable,
        "-c",
        PROGRAM.read_text() + AFTER,
        str(folder / predictor_folder.STEPS[precision][0]),
        str(tmp_path / "in.npz"),
        sensor_set,
    ]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=tmp_path) for _ in range(2)]
    for process in both:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        for (pose, betas), true in zip(json.loads(out), wanted, strict=True):
            assert np.abs(rotations.matrix_from_six(np.array(pose)) - true.local).max() < 1e-5
            assert np.abs(np.array(betas) - true.betas).max() < 1e-5


def test_one_loaded_graph_serves_two_streams(tmp_path: Path) -> None:
    parts = predictor_folder.read(write(tmp_path / "predictor"))
    one, other = Live(parts.step, parts.body), Live(parts.step, parts.body)
    run(one, swaying(10))
    assert not any(array.any() for array in parts.step.start().values())
    alone = run(Live(parts.step, parts.body), swaying(10))
    assert all(np.array_equal(a.local, b.local) for a, b in zip(run(other, swaying(10)), alone, strict=True))


def test_it_is_as_short_as_it_says() -> None:
    lines = [line for line in PROGRAM.read_text().splitlines() if line.strip() and not line.startswith("import")]
    assert len(lines) <= 20
