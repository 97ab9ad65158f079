"""A graph that names other files, or is not the one that was exported, is not opened."""

import hashlib
import json
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from motion_tracking.small_live import write
from onnx import TensorProto, helper

from tenfold.core.errors import Corrupt
from tenfold.motion_tracking import onnx_step, onnx_whole, predictor_folder


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("whole") / "predictor")


def outside(place: str = "secret.bin") -> onnx.TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    return tensor


def graph(tensor: onnx.TensorProto, where: str) -> onnx.ModelProto:
    """y = x + w, with the tensor somewhere in it."""
    plain = helper.make_tensor("w", TensorProto.FLOAT, [2], [0.0, 0.0])
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])] for name in "xy"]
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    made = helper.make_graph(nodes, "g", *ends, [tensor if where == "initializer" else plain])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)])
    branch = helper.make_graph([], "branch", [], [], [tensor])
    if where == "constant":
        model.graph.node.insert(0, helper.make_node("Constant", [], ["c"], value=tensor))
    elif where == "branch":
        model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=branch, else_branch=branch))
    elif where == "list":
        model.graph.node[0].attribute.add(name="many", type=onnx.AttributeProto.TENSORS).tensors.append(tensor)
    elif where == "sparse":
        model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    elif where == "sparse_attribute":
        model.graph.node[0].attribute.add(name="s", type=onnx.AttributeProto.SPARSE_TENSOR).sparse_tensor.indices.CopyFrom(tensor)
    elif where == "function":
        model.functions.add(name="f", domain="").node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    elif where == "default":
        model.functions.add(name="f").attribute_proto.add(name="a", type=onnx.AttributeProto.TENSOR).t.CopyFrom(tensor)
    return model


PLACES = ["initializer", "constant", "branch", "list", "sparse", "sparse_attribute", "function", "default"]


@pytest.mark.parametrize("where", PLACES)
def test_a_tensor_outside_is_found_wherever_it_stands(tmp_path: Path, where: str) -> None:
    """The same graph without the tensor has nothing against it."""
    (tmp_path / "secret.bin").write_bytes(b"\0" * 8)
    path = tmp_path / "step.onnx"
    path.write_bytes(graph(outside(), where).SerializeToString())
    with pytest.raises(Corrupt, match="said to lie in another file"):
        onnx_step.OnnxStep(path)
    inside = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    assert onnx_whole.reason_against(graph(inside, where).SerializeToString()) == ""


def test_either_sign_is_enough() -> None:
    located, listed = outside(), outside()
    del located.external_data[:]
    listed.ClearField("data_location")
    for tensor in (located, listed):
        assert "another file" in onnx_whole.reason_against(graph(tensor, "initializer").SerializeToString())


def test_other_operators_and_training_are_refused() -> None:
    model = graph(helper.make_tensor("w", TensorProto.FLOAT, [2], [0.0, 0.0]), "initializer")
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert "operators of b'com.microsoft'" in onnx_whole.reason_against(model.SerializeToString())
    del model.opset_import[1]
    model.training_info.add().algorithm.initializer.append(outside())
    assert "training" in onnx_whole.reason_against(model.SerializeToString())


def test_a_deep_graph_ends(tmp_path: Path) -> None:
    inner = helper.make_graph([], "g", [], [])
    for _ in range(15):
        inner = helper.make_graph([helper.make_node("If", ["x"], ["y"], then_branch=inner)], "g", [], [])
    assert "nested" in onnx_whole.reason_against(helper.make_model(inner).SerializeToString())


def test_what_is_exported_is_whole(predictor: Path) -> None:
    assert onnx_whole.reason_against((predictor / "step.onnx").read_bytes()) == ""


@given(st.binary(max_size=300))
def test_any_bytes_have_an_answer(data: bytes) -> None:
    assert isinstance(onnx_whole.reason_against(data), str)


@given(st.data())
def test_a_cut_graph_has_an_answer(data: st.DataObject) -> None:
    whole = graph(outside(), "branch").SerializeToString()
    assert isinstance(onnx_whole.reason_against(whole[: data.draw(st.integers(0, len(whole)))]), str)


def test_another_graph_than_the_one_exported_is_refused(predictor: Path, tmp_path: Path) -> None:
    described = json.loads((predictor / "predictor.json").read_text())
    data = (predictor / "step.onnx").read_bytes()
    assert described["step_sha256"] == hashlib.sha256(data).hexdigest() == predictor_folder.read(predictor).step.sha256
    other = write(tmp_path / "other", seed=1)
    (other / "step.onnx").write_bytes(data)
    with pytest.raises(Corrupt, match=r"step.onnx is not the step that was exported \(its sha256 differs\)"):
        predictor_folder.read(other)
    (other / "step.onnx").unlink()
    with pytest.raises(Corrupt, match="cannot be read"):
        predictor_folder.read(other)
    del described["step_sha256"]
    (other / "predictor.json").write_text(json.dumps(described))
    with pytest.raises(Corrupt, match="is damaged"):
        predictor_folder.read(other)


def test_a_file_changed_while_it_is_opened_is_looked_at_again(tmp_path: Path, predictor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes are kept; of others what was read by the path is dropped, and they are refused."""
    good = (predictor / "step.onnx").read_bytes()
    path, session, opened = tmp_path / "step.onnx", onnxruntime.InferenceSession, []

    def swapped(model: str | bytes, *rest: Any, **more: Any) -> Any:
        opened.append(type(model))
        if isinstance(model, str):
            path.unlink()
            path.write_bytes(after)
            return session(good, *rest, **more)
        return session(model, *rest, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", swapped)
    after = good
    path.write_bytes(good)
    assert onnx_step.OnnxStep(path, sha256=hashlib.sha256(good).hexdigest()).sha256 == hashlib.sha256(good).hexdigest()
    assert opened == [str]
    after = graph(outside(), "initializer").SerializeToString()
    for sha256, says in ((hashlib.sha256(good).hexdigest(), "its sha256 differs"), ("", "another file")):
        path.write_bytes(good)
        with pytest.raises(Corrupt, match=says):
            onnx_step.OnnxStep(path, sha256=sha256)
