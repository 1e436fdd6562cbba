"""Writing an ONNX graph node by node."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hyperstem.models.store import BLOCK

Precision = Literal["float32", "float16", "int8"]
"""How constants are stored."""
HALF_FROM = 256
"""Constants with fewer elements than this stay float32 in a file of lower precision."""
BYTES_FROM = 4096
"""Constants with fewer elements than this, or no whole number of blocks, are float16 in an int8 file."""

RESULT_AXES = 4
"""Number of axes of a branch's results, whether it is taken or not."""


class Graph:
    """Collects nodes, constants, inputs and outputs; tensors are referred to by name.

    Args:
        name: of the graph; tensor names begin with it, so that those of branches are unique.
        precision: how larger float constants are stored; computation stays in float32.
        plain: one path, without branches; nodes that no output needs are left out.
    """

    def __init__(self, name: str, precision: Precision = "float32", plain: bool = False) -> None:
        self.name, self.precision, self.plain = name, precision, plain
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}

    def input(self, name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> str:
        """Declares an input; axes are sizes or, where free, names."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, tensor: str, name: str, shape: Sequence[int | str] | None) -> None:
        """Declares `tensor` as the float32 output `name`."""
        if tensor != name:
            self.nodes.append(helper.make_node("Identity", [tensor], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def when(self, condition: str, body: Callable[["Graph"], Sequence[str]]) -> list[str]:
        """Computes `body` only if `condition` holds; otherwise its results are empty (with four axes).

        A plain graph always computes it.

        Args:
            condition: a bool tensor of one element.
            body: adds nodes to the branch that it is given (they may use this graph's tensors) and returns its results.
        """
        if self.plain:
            return list(body(self))
        name = f"{self.name}_if{len(self.nodes)}"
        then, otherwise = Graph(f"{name}_then", self.precision), Graph(f"{name}_else", self.precision)
        results = body(then)
        outputs = [f"{name}_{i}" for i in range(len(results))]
        for i, result in enumerate(results):
            then.output(result, f"{then.name}_out{i}", None)
            empty = otherwise.floats(np.zeros((0,) * RESULT_AXES))
            otherwise.output(empty, f"{otherwise.name}_out{i}", None)
        branches: dict[str, Any] = {"then_branch": then.proto(), "else_branch": otherwise.proto()}
        self.nodes.append(helper.make_node("If", [condition], outputs, **branches))
        return outputs

    def repeat(self, count: str, body: Callable[["Graph", str], str]) -> str:
        """Computes `body` `count` times; only the tensors of one iteration are kept at a time.

        Args:
            count: an int64 tensor of one element.
            body: adds nodes to the graph that it is given, and returns its float32 result; the second argument is the
                tensor with the number of the iteration (from 0; int64, no axes).

        Returns:
            The results, stacked along a new first axis.
        """
        name = f"{self.name}_loop{len(self.nodes)}"
        inner = Graph(name, self.precision)
        number = f"{name}_number"
        inner.inputs.append(helper.make_tensor_value_info(number, TensorProto.INT64, []))
        inner.inputs.append(helper.make_tensor_value_info(f"{name}_before", TensorProto.BOOL, []))
        result = body(inner, number)
        go_on = inner.op("Identity", f"{name}_before")
        inner.outputs.append(helper.make_tensor_value_info(go_on, TensorProto.BOOL, []))
        inner.output(result, f"{name}_result", None)
        always = self.constant(np.array(True))
        self.nodes.append(helper.make_node("Loop", [count, always], [f"{name}_results"], body=inner.proto()))
        return f"{name}_results"

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Adds a node with one output and returns that output's name."""
        output = name or f"{self.name}_{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def split(self, tensor: str, sizes: Sequence[int], axis: int) -> list[str]:
        """Splits `tensor` along `axis` into pieces of `sizes`."""
        outputs = [f"{self.name}_split{len(self.nodes)}_{i}" for i in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [tensor, self.ints(*sizes)], outputs, axis=axis))
        return outputs

    def constant(self, value: np.ndarray | np.generic) -> str:
        """A constant; equal ones are stored once."""
        array = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = numpy_helper.from_array(array, f"{self.name}_constant{len(self._constants)}")
        return self._constants[key].name

    def floats(self, value: np.ndarray | float) -> str:
        """A float32 constant."""
        array = np.asarray(value, np.float32)
        if self.precision == "int8" and array.size >= BYTES_FROM and array.size % BLOCK == 0:
            blocks = array.reshape(-1, BLOCK)
            scales = np.abs(blocks).max(1, keepdims=True) / np.float32(127)
            codes = np.rint(blocks / np.maximum(scales, np.float32(1e-30))).astype(np.int8)
            values = self.op("Mul", self.as_float(self.constant(codes)), self.constant(scales))
            return self.op("Reshape", values, self.ints(*array.shape))
        if self.precision != "float32" and array.size >= HALF_FROM:
            return self.as_float(self.constant(array.astype(np.float16)))
        return self.constant(array)

    def ints(self, *values: int) -> str:
        """An int64 constant (count,)."""
        return self.constant(np.array(values, np.int64))

    def as_float(self, tensor: str) -> str:
        """`tensor` as float32."""
        return self.op("Cast", tensor, to=TensorProto.FLOAT)

    def as_double(self, tensor: str) -> str:
        """`tensor` as float64."""
        return self.op("Cast", tensor, to=TensorProto.DOUBLE)

    def as_int(self, tensor: str) -> str:
        """`tensor` as int64."""
        return self.op("Cast", tensor, to=TensorProto.INT64)

    def _prune(self) -> None:
        """Takes out nodes and constants that no output needs."""
        needed, kept = {output.name for output in self.outputs}, []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        self.nodes = kept[::-1]
        self._constants = {key: value for key, value in self._constants.items() if value.name in needed}

    def proto(self) -> onnx.GraphProto:
        """The graph alone."""
        if self.plain:
            self._prune()
        return helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, list(self._constants.values()))

    def model(self, opset: int, ir_version: int, metadata: dict[str, str]) -> onnx.ModelProto:
        """The finished, checked model."""
        standard = [helper.make_opsetid("", opset)]
        model = helper.make_model(self.proto(), opset_imports=standard, producer_name="hyperstem")
        model.ir_version = ir_version
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        return model
