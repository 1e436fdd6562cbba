"""Writing an ONNX graph node by node."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Graph:
    """Collects nodes, constants, inputs and outputs; tensors are known by their names.

    Args:
        name: of the graph.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}

    def input(self, name: str, shape: Sequence[int | str]) -> str:
        """Declares a float32 input; axes are sizes or, where free, names."""
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def output(self, tensor: str, name: str, shape: Sequence[int | str]) -> None:
        """Declares `tensor` as the float32 output `name`."""
        if tensor != name:
            self.nodes.append(helper.make_node("Identity", [tensor], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: object) -> str:
        """Adds a node with one output and gives that output's name."""
        output = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def split(self, tensor: str, sizes: Sequence[int], axis: int) -> list[str]:
        """Cuts `tensor` along `axis` into pieces of `sizes`."""
        outputs = [f"split_{len(self.nodes)}_{i}" for i in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [tensor, self.ints(*sizes)], outputs, axis=axis))
        return outputs

    def constant(self, value: np.ndarray | np.generic) -> str:
        """A constant; equal ones are kept once."""
        array = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = numpy_helper.from_array(array, f"constant_{len(self._constants)}")
        return self._constants[key].name

    def floats(self, value: np.ndarray | float) -> str:
        """A float32 constant."""
        return self.constant(np.asarray(value, np.float32))

    def ints(self, *values: int) -> str:
        """An int64 constant (count,)."""
        return self.constant(np.array(values, np.int64))

    def as_float(self, tensor: str) -> str:
        """`tensor` as float32."""
        return self.op("Cast", tensor, to=TensorProto.FLOAT)

    def as_int(self, tensor: str) -> str:
        """`tensor` as int64."""
        return self.op("Cast", tensor, to=TensorProto.INT64)

    def model(self, opset: int, ir_version: int, metadata: dict[str, str]) -> onnx.ModelProto:
        """The finished, checked model."""
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, list(self._constants.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="hyperstem")
        model.ir_version = ir_version
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        return model
