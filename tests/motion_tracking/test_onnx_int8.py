"""The step with weights of 8 bits: what is rounded and what is not, that it is the same step otherwise, and what it is measured to lose."""

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_tracking import small_model, small_motion
from motion_tracking.small_features import NETWORK, PLAIN
from motion_tracking.small_live import write
from onnx import numpy_helper

from tenfold.core.errors import BadData, Corrupt, UsageError
from tenfold.motion_tracking import columns, evaluate, onnx_export, onnx_int8, onnx_step, onnx_whole, parity, predictor_folder, train
from tenfold.motion_tracking.network import Network
from tenfold.motion_tracking.onnx_graph import Graph
from tenfold.motion_tracking.trials import Trials

KINDS: dict[str, dict[str, Any]] = {
    "demo": {},
    "gru": {"temporal": "gru"},
    "window": {"temporal": "transformer_window"},
    "no time": {"temporal": "none"},
    "one": {"tokens": "one", "spatial": "none"},
    "no shape": {"shape": "zero"},
}


def speaking(**options: Any) -> Network:
    """A network whose every part speaks."""
    torch.manual_seed(0)
    network = Network(replace(NETWORK, **options)).eval().requires_grad_(False)
    for parameter in network.parameters():
        if not parameter.any():
            parameter.normal_(std=0.05)
    return network


def both(network: Network, folder: Path) -> tuple[Path, Path, float]:
    wide, small = folder / "step.onnx", folder / "step_int8.onnx"
    onnx_export.export(network, wide, "sha")
    return wide, small, onnx_int8.export(network, wide, small)


def product(weight: np.ndarray) -> bytes:
    """y = x W and nothing else."""
    graph = Graph()
    graph.node("Identity", graph.linear("x", weight.T, None), output="y")
    return graph.model({"x": ["B", len(weight)]}, {"y": ["B", weight.shape[1]]}, "").SerializeToString()


def to_eight_bits(values: np.ndarray) -> tuple[np.ndarray, float, int]:
    """Whole numbers, scale and zero of the range of the values, 0 among them (ONNX's DynamicQuantizeLinear)."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    scale = np.float32((high - low) / 255) if high > low else np.float32(1)
    zero = int(np.clip(np.rint(-low / scale), 0, 255))
    return np.clip(np.rint(values / scale) + zero, 0, 255).astype(np.int64), float(scale), zero


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 12), st.floats(0.01, 30.0))
def test_a_product_is_that_of_whole_numbers(seed: int, inner: int, outer: int, wide: float) -> None:
    rng = np.random.default_rng(seed)
    weight, x = rng.normal(size=(inner, outer)).astype(np.float32), (wide * rng.normal(size=(1, inner))).astype(np.float32)
    model = onnx_int8.quantised(product(weight))
    stored = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    whole = next(array for array in stored.values() if array.shape == weight.shape)
    scale, zero = (next(array for name, array in stored.items() if name.endswith(end)) for end in ("_scale", "_zero_point"))
    assert whole.dtype == np.uint8 and np.abs(scale * (whole.astype(np.float64) - zero) - weight).max() <= 0.5001 * scale
    given_, step, origin = to_eight_bits(x)
    wanted = step * float(scale) * ((given_ - origin) @ (whole.astype(np.int64) - int(zero)))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x})
    # a value half way between two whole numbers may be rounded to either
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max() + step * np.abs(weight).max()
    assert np.abs(found - x @ weight).max() <= inner * (step * np.abs(weight).max() + float(scale) * np.abs(x).max())


@pytest.mark.parametrize("kind", KINDS)
def test_matrices_have_8_bits_and_the_rest_32(kind: str, tmp_path: Path) -> None:
    network = speaking(**KINDS[kind])
    wide, small, difference = both(network, tmp_path)
    assert 0 < difference < 0.05
    before, after = (onnx.ModelProto.FromString(path.read_bytes()) for path in (wide, small))
    matrices = {node.input[1] for node in before.graph.node if node.op_type == "MatMul" and node.name not in onnx_int8.EXACT}
    stored = {each.name: each for each in before.graph.initializer}
    rounded = {f"{name}_quantized" for name in matrices if name in stored}
    kept = {each.name: each for each in after.graph.initializer}
    assert rounded and {name for name, each in kept.items() if each.data_type == onnx.TensorProto.UINT8 and each.dims} == rounded
    exact = [node.input[1] for node in after.graph.node if node.name in onnx_int8.EXACT]
    assert len(exact) == 2 and all(np.array_equal(numpy_helper.to_array(kept[each]), numpy_helper.to_array(stored[each])) for each in exact)
    assert [(each.domain, each.version) for each in after.opset_import] == [(each.domain, each.version) for each in before.opset_import]
    for ends in ("input", "output"):
        assert [each.SerializeToString() for each in getattr(after.graph, ends)] == [
            each.SerializeToString() for each in getattr(before.graph, ends)
        ]


def test_it_says_what_it_is_and_is_the_same_twice(tmp_path: Path) -> None:
    network = speaking()
    wide, small, _ = both(network, tmp_path)
    first = small.read_bytes()
    assert onnx_whole.reason_against(first) == "" and len(first) < 0.8 * wide.stat().st_size
    properties = [
        {each.key: json.loads(each.value) for each in onnx.ModelProto.FromString(path.read_bytes()).metadata_props}
        for path in (wide, small)
    ]
    assert properties[1] == properties[0] | {"precision": "int8"}
    onnx_int8.export(network, wide, small)
    assert small.read_bytes() == first
    steps = [onnx_step.OnnxStep(path) for path in (wide, small)]
    assert steps[0].facts == steps[1].facts and {k: v.shape for k, v in steps[0].start().items()} == {
        k: v.shape for k, v in steps[1].start().items()
    }


def test_nobody_elses_lines_are_printed_from_then_on(tmp_path: Path) -> None:
    """In a process of its own: the quantiser sets up logging when it is first imported."""
    wide, _, _ = both(speaking(), tmp_path)
    code = (
        "import logging, pathlib, sys; from tenfold.motion_tracking import onnx_int8;"
        "onnx_int8.quantised(pathlib.Path(sys.argv[1]).read_bytes());"
        "assert 'onnxruntime.quantization' in sys.modules; logging.getLogger('x').info('a line of another library');"
        "print(logging.getLogger().handlers, logging.getLogger().level)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(wide)], check=True, capture_output=True, text=True)
    assert done.stdout == f"[] {logging.WARNING}\n" and done.stderr == ""


def test_the_published_form_has_a_quarter_of_the_file(tmp_path: Path) -> None:
    """It has no linear map; the embedding is stored as one matrix (135, 8 H)."""
    torch.manual_seed(0)
    network = Network(replace(PLAIN, hidden=64, heads=4, ff=256, head_hidden=64)).eval().requires_grad_(False)
    wide, small, _ = both(network, tmp_path)
    embedding = 4 * columns.WIDTH * 8 * 64
    assert small.stat().st_size - embedding < 0.28 * (wide.stat().st_size - embedding)


@pytest.mark.parametrize("export", ["fp32", "int8"])
def test_what_gives_no_number_is_refused(export: str, tmp_path: Path) -> None:
    network = speaking()
    onnx_export.export(network, tmp_path / "step.onnx", "")
    network.pose_head[2].bias[3] = float("nan")  # type: ignore[index, union-attr]
    with pytest.raises(BadData, match="differs from PyTorch by nan" if export == "fp32" else "what is no number"):
        if export == "fp32":
            onnx_export.export(network, tmp_path / "other.onnx", "")
        else:
            onnx_int8.export(network, tmp_path / "step.onnx", tmp_path / "int8.onnx")


# -- the predictor's folder -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("int8") / "predictor")


def test_a_predictor_opens_either(predictor: Path) -> None:
    wide, small = (predictor_folder.read(predictor, precision) for precision in ("fp32", "int8"))
    assert wide.description["step_sha256"] == wide.step.sha256 != small.step.sha256 == wide.description["step_int8_sha256"]
    assert wide.description["onnx_parity"] < 1e-5 < wide.description["onnx_int8_difference"] < 0.05
    with pytest.raises(UsageError, match="precision is 'int4'.*int8"):
        predictor_folder.read(predictor, "int4")


def test_another_graph_of_8_bits_is_refused(predictor: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", seed=1)
    (other / "step_int8.onnx").write_bytes((predictor / "step_int8.onnx").read_bytes())
    with pytest.raises(Corrupt, match="step_int8.onnx is not the step that was exported"):
        predictor_folder.read(other, "int8")
    assert predictor_folder.read(other).precision == "fp32"


def test_a_predictor_of_before_has_32_bits_only(predictor: Path, tmp_path: Path) -> None:
    old = write(tmp_path / "old")
    (old / "step_int8.onnx").unlink()
    described = json.loads((old / "predictor.json").read_text())
    del described["step_int8_sha256"], described["onnx_int8_difference"]
    (old / "predictor.json").write_text(json.dumps(described))
    assert predictor_folder.read(old).step.sha256 == predictor_folder.read(predictor).step.sha256
    with pytest.raises(BadData, match=r"has no step of 8 bits.*use fp32, or train the model again"):
        predictor_folder.read(old, "int8")


# -- what it loses, and what networks cost --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    base = tmp_path_factory.mktemp("parity")
    features = small_motion.folder(base / "features")
    (base / "model").mkdir()
    return features, small_model.make(features, base / "model", base / "scratch", seeds=[0], variants=["reference", "one_lstm"])


def test_three_forms_of_a_step_beside_each_other(trained: tuple[Path, Path]) -> None:
    features, model = trained
    tests, network = Trials.open(features, 0, 150), train.load_network(model)
    found = parity.compare(network, model / "predictor", tests, 10_000)
    assert list(found) == ["torch", "fp32", "int8"]
    for name, most in (("six", 1e-5), ("joint_mean", 1e-3), ("joint_most", 1e-3)):
        assert found["torch"][name] == 0 < found["fp32"][name] < min(most, found["int8"][name]) and found["int8"][name] < 10
    scored = tests.score(lambda group: evaluate.predicted(network, tests, group, "hmd_3imus"))
    for name in ("mpjpe", "jitter"):
        assert found["torch"][name] == pytest.approx(scored.clips[name].mean(), rel=2e-3)
    assert found["int8"]["mb"] == (model / "predictor" / "step_int8.onnx").stat().st_size / 1e6 < found["fp32"]["mb"]
    assert {one["clips"] for one in found.values()} == {4} and found["int8"]["frames"] == sum(clip.length for clip in tests.clips)
    assert all(0 < one["p50"] <= one["p95"] for one in found.values())


def test_fewer_frames_are_fewer_clips(trained: tuple[Path, Path]) -> None:
    features, model = trained
    tests = Trials.open(features, 0, 150)
    found = parity.compare(train.load_network(model), model / "predictor", tests, 100)
    assert found["torch"]["clips"] == 2 and 100 < found["torch"]["frames"] < 140


def test_equal_networks_cost_the_same(trained: tuple[Path, Path]) -> None:
    _, model = trained
    networks = {name: train.load_network(model, name) for name in ("", "reference", "one_lstm")}
    found = parity.costs(networks, 30)
    assert found[""] == found["reference"] != found["one_lstm"]
    assert all(cost["ms"] > 0 and cost["frames"] >= 30 for cost in found.values())
    assert found[""]["mb"] == pytest.approx((model / "predictor" / "step.onnx").stat().st_size / 1e6, rel=1e-3)
