"""From a Keras model to an ONNX graph, layer by layer.

Keras exports through tf2onnx, which needs TensorFlow as the backend and writes EfficientNets that ONNX Runtime refuses.
The networks of this package are made of two dozen kinds of layers (:data:`LAYERS`), and written directly the graph is
the one that runs fastest: channels first, batch normalisation folded into the convolution before it, explicit padding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from allmasked.core.errors import ConfigError, require
from allmasked.exporting import onnx_readout
from allmasked.stats import metrics, votes

if TYPE_CHECKING:
    import keras
    import onnx

Pair = tuple[int, ...]
OPSET, IR_VERSION = 18, 8
INPUT = "pixels"
HALF_FROM_SIZE = 256
"""Constants with at least this many numbers are stored as float16 where a file is to be half as large."""


class Graph:
    """An ONNX graph under construction. Maps (rank 4) are channels first in it, and channels last outside."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.convolutions: dict[str, tuple[str, str]] = {}
        """Output name of a convolution -> names of its kernel and bias, for batch normalisation to be folded in."""
        self._taken: Counter[str] = Counter()

    def name(self, wanted: str) -> str:
        self._taken[wanted] += 1
        return wanted if self._taken[wanted] == 1 else self.name(f"{wanted}_{self._taken[wanted]}")

    def constant(self, values: Any, name: str) -> str:
        name = self.name(name)
        array = np.asarray(values)
        self.constants[name] = array.astype(np.float32) if array.dtype.kind == "f" else array.astype(np.int64)
        return name

    def add(self, operation: str, inputs: list[str], name: str, output: str = "", **attributes: Any) -> str:
        """Append a node; returns the name of its output."""
        from onnx import helper

        name = self.name(name)
        self.nodes.append(helper.make_node(operation, inputs, [output or name], name=name, **attributes))
        return output or name

    def walk(self, model: keras.Model, known: dict[int, str]) -> None:
        """Add a functional model's layers; ``known`` has the name of each Keras tensor's value by ``id``, and grows."""
        import keras

        calls = []
        seen = set(known)
        for layer in model.operations:
            for call in layer._inbound_nodes:
                if call.input_tensors and all(id(tensor) in seen for tensor in call.input_tensors):
                    calls.append(call)
                    seen.update(id(tensor) for tensor in call.output_tensors)
                    break
        uses = Counter(id(tensor) for call in calls for tensor in call.input_tensors)
        uses.update(id(tensor) for tensor in model.outputs)
        for call in calls:
            layer, inputs = call.operation, [known[id(tensor)] for tensor in call.input_tensors]
            if isinstance(layer, keras.Model):
                inside = dict(zip(map(id, layer.inputs), inputs))
                self.walk(layer, inside)
                outputs = [inside[id(tensor)] for tensor in layer.outputs]
            elif (kind := type(layer).__name__) == "BatchNormalization":
                outputs = [_batch_normalization(self, layer, inputs[0], fold=uses[id(call.input_tensors[0])] == 1)]
            elif kind in LAYERS:
                outputs = [LAYERS[kind](self, layer, inputs)]
            else:
                raise ConfigError(f"layer {layer.name!r} is a {kind}, which cannot be exported; add it to LAYERS")
            known.update(zip(map(id, call.output_tensors), outputs))


def graph_of(model: keras.Model, inputs: Sequence[str] = (INPUT,), *, linear: bool = False) -> onnx.ModelProto:
    """The ONNX model of one of our Keras models.

    Its ``inputs``, by name in the model's order: (N, H, W, 3) uint8 RGB, any N. Outputs, float32: those of the Keras
    model by name (``probabilities`` (N, 3); of a head with maps also ``answer`` (N, 4), ``faces`` (N, 64, 7) and
    ``maps`` (N, h, w, 6), see :mod:`allmasked.networks.readout`), and
    where ``linear`` says that the head averages the features for one dense layer, ``cam`` (N, h, w, 3): each class's
    activation map in closed form.

    Raises:
        ConfigError: a layer that :data:`LAYERS` doesn't know.
        MissingExtraError: onnx is not installed.
    """
    onnx = require("onnx", "export")
    helper = onnx.helper
    graph = Graph()
    outputs = model.output if isinstance(model.output, dict) else {"probabilities": model.output}
    for name in (*inputs, "cam", *outputs):
        graph.name(name)  # taken
    known, starts = {}, []
    for name, tensor in zip(inputs, model.inputs):
        first = graph.add("Transpose", [name], "channels_first", perm=[0, 3, 1, 2])
        known[id(tensor)] = graph.add("Cast", [first], "float", to=onnx.TensorProto.FLOAT)
        starts.append(helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, ["N", *tensor.shape[1:]]))
    graph.walk(model, known)
    values = {name: (known[id(tensor)], tensor.shape) for name, tensor in outputs.items()}
    if linear:
        feature_map = model.get_layer("average").input
        kernel = _array(model.get_layer("logits").kernel)
        weights = graph.constant(kernel.T[:, :, None, None], "cam/kernel")
        cam = graph.add("Conv", [known[id(feature_map)], weights], "cam_conv")
        values["cam"] = cam, (*feature_map.shape[:-1], kernel.shape[1])
    ends = []
    for name, (value, shape) in values.items():
        if len(shape) == 4:
            graph.add("Transpose", [value], f"{name}_channels_last", output=name, perm=[0, 2, 3, 1])
        else:
            graph.add("Identity", [value], f"{name}_end", output=name)
        ends.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", *shape[1:]]))
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()]
    proto = helper.make_model(
        helper.make_graph(graph.nodes, "allmasked", starts, ends, initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="allmasked",
    )
    proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    onnx.checker.check_model(proto)
    return proto


def halve(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with its weights stored as float16; they are cast to float32 once, when the file is opened."""
    onnx = require("onnx", "export")
    halved = onnx.ModelProto()
    halved.CopyFrom(proto)
    casts = []
    for tensor in halved.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < HALF_FROM_SIZE:
            continue
        name = tensor.name
        values = onnx.numpy_helper.to_array(tensor).clip(-65504, 65504).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, f"{name}/half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}/half"], [name], f"{name}/cast", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *halved.graph.node]
    del halved.graph.node[:]
    halved.graph.node.extend(nodes)
    onnx.checker.check_model(halved)
    return halved


# --- layers ----------------------------------------------------------------------------------------------------------


def _array(variable: Any) -> NDArray[np.float32]:
    from keras import ops

    return np.asarray(ops.convert_to_numpy(variable), np.float32)


def _activate(graph: Graph, value: str, function: Any, name: str) -> str:
    kind = function.__name__
    if kind == "linear":
        return value
    if kind in ("silu", "swish"):
        return graph.add("Mul", [value, graph.add("Sigmoid", [value], f"{name}/sigmoid")], f"{name}/swish")
    if kind == "softmax":
        return graph.add("Softmax", [value], f"{name}/softmax", axis=1)
    if kind == "relu6":
        return _clip(graph, value, 6.0, name)
    operations = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}
    if kind not in operations:
        raise ConfigError(f"layer {name!r} has the activation {kind!r}, which cannot be exported")
    return graph.add(operations[kind], [value], f"{name}/{kind}")


def _clip(graph: Graph, value: str, top: float, name: str) -> str:
    low, high = graph.constant(np.float32(0), f"{name}/low"), graph.constant(np.float32(top), f"{name}/high")
    return graph.add("Clip", [value, low, high], f"{name}/clip")


def _window(layer: Any, size: Pair, strides: Pair, dilation: Pair = (1, 1)) -> list[int]:
    """Padding (top, left, bottom, right) as TensorFlow does it: for "same", the odd pixel at the bottom and right."""
    if layer.padding == "valid":
        return [0, 0, 0, 0]
    before, after = [], []
    for side, kernel, stride, step in zip(layer.input.shape[1:3], size, strides, dilation):
        extent = (kernel - 1) * step + 1
        total = max((-(-side // stride) - 1) * stride + extent - side, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return [*before, *after]


def _convolve(graph: Graph, value: str, kernel: NDArray[np.float32], bias: Any, name: str, **attributes: Any) -> str:
    """A convolution with an (out, in / groups, h, w) kernel; always with a bias, for normalisation to be folded in."""
    weights = graph.constant(kernel, f"{name}/kernel")
    offset = graph.constant(np.zeros(len(kernel), np.float32) if bias is None else _array(bias), f"{name}/bias")
    attributes["kernel_shape"] = list(kernel.shape[2:])
    result = graph.add("Conv", [value, weights, offset], f"{name}/conv", **attributes)
    graph.convolutions[result] = weights, offset
    return result


def _depthwise_kernel(variable: Any) -> NDArray[np.float32]:
    kernel = _array(variable)
    height, width, channels, multiplier = kernel.shape
    return kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)


def _windows(layer: Any) -> dict[str, Any]:
    """Where a layer's kernel is laid, as attributes of Conv."""
    return {
        "strides": list(layer.strides),
        "dilations": list(layer.dilation_rate),
        "pads": _window(layer, layer.kernel_size, layer.strides, layer.dilation_rate),
    }


def _conv(graph: Graph, layer: Any, inputs: list[str]) -> str:
    kernel = _array(layer.kernel).transpose(3, 2, 0, 1)
    value = _convolve(graph, inputs[0], kernel, layer.bias, layer.name, group=layer.groups, **_windows(layer))
    return _activate(graph, value, layer.activation, layer.name)


def _depthwise(graph: Graph, layer: Any, inputs: list[str]) -> str:
    kernel, channels = _depthwise_kernel(layer.kernel), layer.input.shape[-1]
    value = _convolve(graph, inputs[0], kernel, layer.bias, layer.name, group=channels, **_windows(layer))
    return _activate(graph, value, layer.activation, layer.name)


def _separable(graph: Graph, layer: Any, inputs: list[str]) -> str:
    kernel, channels = _depthwise_kernel(layer.depthwise_kernel), layer.input.shape[-1]
    name = f"{layer.name}_depthwise"
    value = _convolve(graph, inputs[0], kernel, None, name, group=channels, **_windows(layer))
    kernel = _array(layer.pointwise_kernel).transpose(3, 2, 0, 1)
    value = _convolve(graph, value, kernel, layer.bias, f"{layer.name}_pointwise")
    return _activate(graph, value, layer.activation, layer.name)


def _batch_normalization(graph: Graph, layer: Any, value: str, *, fold: bool) -> str:
    mean, variance = _array(layer.moving_mean), _array(layer.moving_variance)
    factor = 1 / np.sqrt(variance.astype(np.float64) + layer.epsilon)
    if layer.scale:
        factor = factor * _array(layer.gamma)
    shift = -mean * factor
    if layer.center:
        shift = shift + _array(layer.beta)
    if fold and value in graph.convolutions:
        kernel, bias = graph.convolutions[value]
        graph.constants[kernel] = (graph.constants[kernel] * factor[:, None, None, None]).astype(np.float32)
        graph.constants[bias] = (graph.constants[bias] * factor + shift).astype(np.float32)
        return value
    if len(layer.input.shape) != 4:
        raise ConfigError(f"layer {layer.name!r} normalises something that is no map, which cannot be exported")
    numbers = {"scale": factor, "shift": shift, "mean": np.zeros_like(mean), "variance": np.ones_like(mean)}
    names = [graph.constant(array, f"{layer.name}/{what}") for what, array in numbers.items()]
    return graph.add("BatchNormalization", [value, *names], layer.name, epsilon=0.0)


def _rescaling(graph: Graph, layer: Any, inputs: list[str]) -> str:
    numbers = (np.asarray(value, np.float32) for value in (layer.scale, layer.offset))
    scale, offset = (np.broadcast_to(value, (3,)).reshape(1, 3, 1, 1) for value in numbers)
    value = graph.add("Mul", [inputs[0], graph.constant(scale, f"{layer.name}/scale")], f"{layer.name}/mul")
    return graph.add("Add", [value, graph.constant(offset, f"{layer.name}/offset")], f"{layer.name}/add")


def _relu(graph: Graph, layer: Any, inputs: list[str]) -> str:
    if layer.negative_slope or layer.threshold:
        raise ConfigError(f"layer {layer.name!r} is a leaky or shifted ReLU, which cannot be exported")
    if layer.max_value is None:
        return graph.add("Relu", inputs, layer.name)
    return _clip(graph, inputs[0], float(layer.max_value), layer.name)


def _activation(graph: Graph, layer: Any, inputs: list[str]) -> str:
    return _activate(graph, inputs[0], layer.activation, layer.name)


def _element_wise(operation: str) -> Callable[[Graph, Any, list[str]], str]:
    def write(graph: Graph, layer: Any, inputs: list[str]) -> str:
        value = inputs[0]
        for other in inputs[1:]:
            value = graph.add(operation, [value, other], layer.name)
        return value

    return write


def _concatenate(graph: Graph, layer: Any, inputs: list[str]) -> str:
    rank = len(layer.output.shape)
    if layer.axis not in (-1, rank - 1):
        raise ConfigError(f"layer {layer.name!r} does not join channels, which cannot be exported")
    return graph.add("Concat", inputs, layer.name, axis=1)


def _global_average(graph: Graph, layer: Any, inputs: list[str]) -> str:
    value = graph.add("GlobalAveragePool", inputs, layer.name)
    return value if layer.keepdims else graph.add("Flatten", [value], f"{layer.name}/flatten", axis=1)


def _max_pool(graph: Graph, layer: Any, inputs: list[str]) -> str:
    pads = _window(layer, layer.pool_size, layer.strides)
    shape: dict[str, Any] = {"kernel_shape": list(layer.pool_size), "strides": list(layer.strides), "pads": pads}
    return graph.add("MaxPool", inputs, layer.name, **shape)


def _average_pool(graph: Graph, layer: Any, inputs: list[str]) -> str:
    pads = _window(layer, layer.pool_size, layer.strides)
    shape: dict[str, Any] = {"kernel_shape": list(layer.pool_size), "strides": list(layer.strides), "pads": pads}
    return graph.add("AveragePool", inputs, layer.name, count_include_pad=0, **shape)


def _zero_padding(graph: Graph, layer: Any, inputs: list[str]) -> str:
    (top, bottom), (left, right) = layer.padding
    pads = graph.constant(np.array([0, 0, top, left, 0, 0, bottom, right]), f"{layer.name}/pads")
    return graph.add("Pad", [inputs[0], pads], layer.name)


def _dense(graph: Graph, layer: Any, inputs: list[str]) -> str:
    names = [inputs[0], graph.constant(_array(layer.kernel), f"{layer.name}/kernel")]
    if layer.use_bias:
        names.append(graph.constant(_array(layer.bias), f"{layer.name}/bias"))
    return _activate(graph, graph.add("Gemm", names, f"{layer.name}/gemm"), layer.activation, layer.name)


def _flatten(graph: Graph, layer: Any, inputs: list[str]) -> str:
    value = inputs[0]
    if len(layer.input.shape) == 4:
        value = graph.add("Transpose", [value], f"{layer.name}/channels_last", perm=[0, 2, 3, 1])
    return graph.add("Flatten", [value], layer.name, axis=1)


def _reshape(graph: Graph, layer: Any, inputs: list[str]) -> str:
    if len(layer.input.shape) != 2 or tuple(layer.target_shape[:2]) != (1, 1):  # of squeeze-and-excitation
        raise ConfigError(f"layer {layer.name!r} reshapes a map, which cannot be exported")
    shape = graph.constant(np.array([0, layer.target_shape[2], 1, 1]), f"{layer.name}/shape")
    return graph.add("Reshape", [inputs[0], shape], layer.name)


def _upsampling(graph: Graph, layer: Any, inputs: list[str]) -> str:
    if layer.interpolation != "nearest":
        raise ConfigError(f"layer {layer.name!r} upsamples by {layer.interpolation!r}, which cannot be exported")
    scales = graph.constant(np.array([1, 1, *layer.size], np.float32), f"{layer.name}/scales")
    return graph.add(
        "Resize", [inputs[0], "", scales], layer.name,
        mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip


def _resizing(graph: Graph, layer: Any, inputs: list[str]) -> str:
    if layer.interpolation != "nearest" or layer.crop_to_aspect_ratio or layer.pad_to_aspect_ratio:
        raise ConfigError(f"layer {layer.name!r} resizes other than by the nearest, which cannot be exported")
    value = inputs[0]
    for axis, before, after in ((2, layer.input.shape[1], layer.height), (3, layer.input.shape[2], layer.width)):
        cells = np.floor((np.arange(after, dtype=np.float32) + np.float32(0.5)) * np.float32(before / after))
        index = graph.constant(cells.clip(0, before - 1).astype(np.int64), f"{layer.name}/cells{axis}")
        value = graph.add("Gather", [value, index], layer.name, axis=axis)
    return value


def _scaled_sum(graph: Graph, layer: Any, inputs: list[str]) -> str:
    factor = graph.constant(np.float32(layer.scale), f"{layer.name}/scale")
    return graph.add("Add", [inputs[0], graph.add("Mul", [inputs[1], factor], f"{layer.name}/mul")], layer.name)


def _vote(graph: Graph, layer: Any, inputs: list[str]) -> str:
    """Of :class:`allmasked.exporting.ensemble_model.Vote`; formulas in :mod:`allmasked.stats.votes`."""

    def weighed(values: list[str], factors: Sequence[float]) -> str:
        scaled = [
            graph.add("Mul", [value, graph.constant(np.float32(factor), "vote/weight")], "vote/weighed")
            for value, factor in zip(values, factors)
        ]
        return graph.add("Sum", scaled, "vote/sum")

    def logs(value: str, smallest: float) -> str:
        lowest = graph.constant(np.float32(smallest), "vote/smallest")
        return graph.add("Log", [graph.add("Max", [value, lowest], "vote/max")], "vote/log")

    def taken(value: str, columns: Sequence[int]) -> str:
        return graph.add("Gather", [value, graph.constant(np.array(columns), "vote/columns")], "vote/taken", axis=1)

    def joint(classes: str, away: str) -> str:
        there = graph.add("Sub", [graph.constant(np.float32(1), "vote/one"), away], "vote/there")
        return graph.add("Concat", [graph.add("Mul", [classes, there], "vote/shared"), away], "vote/joint", axis=1)

    away = [taken(value, [3]) for value in inputs] if layer.nobody else []
    classes = []
    for value, temperature in zip(inputs, layer.temperatures):
        if layer.nobody:
            least = graph.constant(np.float32(1e-9), "vote/least")
            value = graph.add("Add", [taken(value, [0, 1, 2]), least], "vote/classes")
            axes = graph.constant(np.array([1]), "vote/axes")
            total = graph.add("ReduceSum", [value, axes], "vote/total", keepdims=1)
            value = graph.add("Div", [value, total], "vote/given")
        if temperature != 1:
            divisor = graph.constant(np.float32(temperature), "vote/temperature")
            value = graph.add("Div", [logs(value, metrics.SMALLEST), divisor], "vote/cooled")
            value = graph.add("Softmax", [value], "vote/calibrated", axis=1)
        classes.append(value)
    if layer.coefficients:
        rows = np.asarray(layer.coefficients, np.float32)
        features = graph.add("Concat", [logs(value, votes.SMALLEST) for value in classes], "vote/logs", axis=1)
        kernel, bias = graph.constant(rows[:, :-1].T, "vote/kernel"), graph.constant(rows[:, -1], "vote/bias")
        voted = graph.add("Softmax", [graph.add("Gemm", [features, kernel, bias], "vote/gemm")], "vote/softmax", axis=1)
        return joint(voted, weighed(away, layer.shares)) if layer.nobody else voted
    each = [joint(*pair) for pair in zip(classes, away)] if layer.nobody else classes
    if layer.vote != "majority":
        return weighed(each, layer.shares)
    depth = graph.constant(np.array([4 if layer.nobody else 3]), "vote/depth")
    values = graph.constant(np.array([0.0, 1.0], np.float32), "vote/values")
    chosen = [graph.add("ArgMax", [value], "vote/chosen", axis=1, keepdims=0) for value in each]
    cast = [graph.add("OneHot", [value, depth, values], "vote/cast", axis=1) for value in chosen]
    count, mean = graph.add("Sum", cast, "vote/count"), graph.add("Mean", each, "vote/mean")
    return weighed([count, mean], [1 / (len(inputs) + 1)] * 2)


def _nobody(graph: Graph, layer: Any, inputs: list[str]) -> str:
    """Of :class:`allmasked.exporting.ensemble_model.Nobody`."""
    column = graph.constant(np.array([3]), f"{layer.name}/column")
    return graph.add("Gather", [inputs[0], column], layer.name, axis=1)


LAYERS: dict[str, Callable[[Graph, Any, list[str]], str]] = {
    "Activation": _activation,
    "Add": _element_wise("Add"),
    "AnswerOfFaces": onnx_readout.answer_of_faces,
    "AveragePooling2D": _average_pool,
    "Concatenate": _concatenate,
    "Conv2D": _conv,
    "CustomScaleLayer": _scaled_sum,  # of InceptionResNetV2
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise,
    "Dropout": lambda graph, layer, inputs: inputs[0],  # noqa: ARG005
    "FindFaces": onnx_readout.find_faces,
    "Flatten": _flatten,
    "GivenSomebody": onnx_readout.given_somebody,
    "GlobalAveragePooling2D": _global_average,
    "MaxPooling2D": _max_pool,
    "Multiply": _element_wise("Mul"),
    "Nobody": _nobody,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "Resizing": _resizing,
    "SecondLook": onnx_readout.second_look,
    "SeparableConv2D": _separable,
    "UpSampling2D": _upsampling,
    "Vote": _vote,
    "ZeroPadding2D": _zero_padding,
}
"""How each kind of layer is written: ``(graph, layer, names of its inputs) -> name of its output``."""
