"""Nodes and constants of an ONNX graph under construction. Every method returns the name of what it made."""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 18, 9  # read by ONNX Runtime since 1.14


class Graph:
    """A graph that is written from its inputs to its outputs."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: npt.ArrayLike) -> str:
        """A stored array: whole numbers as int64, others as float32."""
        array = np.asarray(value)
        array = np.ascontiguousarray(array.astype(np.int64 if array.dtype.kind in "iu" else np.float32)).reshape(array.shape)
        self.constants.append(numpy_helper.from_array(array, f"constant_{len(self.constants)}"))
        return self.constants[-1].name

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: object) -> str:
        """One operator with one output."""
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def split(self, x: str, parts: int, axis: int) -> list[str]:
        """Equal parts."""
        names = [f"split_{len(self.nodes)}_{part}" for part in range(parts)]
        self.nodes.append(helper.make_node("Split", [x], names, axis=axis, num_outputs=parts))
        return names

    def slice(self, x: str, start: int, end: int, axis: int = 1) -> str:
        """Elements `start` to `end` of an axis."""
        return self.node("Slice", x, *(self.constant([value]) for value in (start, end, axis)))

    def reshape(self, x: str, *shape: int) -> str:
        """0 keeps a side, -1 is what is left."""
        return self.node("Reshape", x, self.constant(list(shape)))

    def add(self, a: str, b: str) -> str:
        """a + b."""
        return self.node("Add", a, b)

    def mul(self, a: str, b: str) -> str:
        """a * b."""
        return self.node("Mul", a, b)

    def sub(self, a: str, b: str, output: str = "") -> str:
        """a - b."""
        return self.node("Sub", a, b, output=output)

    def linear(self, x: str, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32] | None, name: str = "") -> str:
        """x (..., in) times weight (out, in) transposed, plus bias; `name` is that of the product's node."""
        product = self.node("MatMul", x, self.constant(weight.T), name=name)
        return product if bias is None else self.add(product, self.constant(bias))

    def low_pass(self, u: str, before: str, alpha: npt.ArrayLike, output: str = "") -> str:
        """before + alpha (u - before)."""
        return self.node("Add", before, self.mul(self.constant(alpha), self.sub(u, before)), output=output)

    def model(self, inputs: dict[str, list[int | str]], outputs: dict[str, list[int | str]], says: str) -> onnx.ModelProto:
        """The checked model; float32 throughout."""
        ends = [
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in some.items()] for some in (inputs, outputs)
        ]
        graph = helper.make_graph(self.nodes, "step", ends[0], ends[1], self.constants)
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="tenfold", doc_string=says)
