"""The layers of :mod:`allmasked.networks.readout` as ONNX nodes: every engine and language gets answer and faces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from allmasked.networks.reading import CANDIDATES, FLOOR, INSIDE, OVERLAP, SHOWN, TYPICAL_PX

if TYPE_CHECKING:
    from allmasked.exporting.onnx_graph import Graph


class _Writer:
    """Appends nodes whose names begin with the layer's; numbers among the inputs become constants."""

    def __init__(self, graph: Graph, layer: str) -> None:
        self.graph, self.layer = graph, layer

    def __call__(self, operation: str, *inputs: Any, **attributes: Any) -> str:
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        return self.graph.add(operation, names, f"{self.layer}/{operation.lower()}", **attributes)

    def constant(self, value: Any) -> str:
        array = np.asarray(value)
        return self.graph.constant(array.astype(np.int64 if array.dtype.kind in "iu" else np.float32),
                                   f"{self.layer}/constant")  # fmt: skip

    def linear(self, weights: Any, *features: str) -> str:
        """weights[0] + weights[1] features[0] + ..."""
        value = self("Mul", features[0], float(weights[1]))
        for weight, feature in zip(weights[2:], features[1:]):
            value = self("Add", value, self("Mul", feature, float(weight)))
        return self("Add", value, float(weights[0]))

    def true(self, condition: str) -> str:
        """1 where a condition holds, else 0."""
        return self("Where", condition, 1.0, 0.0)


def find_faces(graph: Graph, layer: Any, inputs: list[str]) -> str:
    """:class:`allmasked.networks.readout.FindFaces`: maps (N, 6, h, w) to faces (N, 64, 7)."""
    do, calibration = _Writer(graph, layer.name), layer.calibration
    rows, columns = layer.input.shape[1:3]
    count = min(CANDIDATES, rows * columns)
    masked_logit, bare_logit = (do("Gather", inputs[0], [channel], axis=1) for channel in (0, 1))
    apart = do("Abs", do("Sub", masked_logit, bare_logit))
    somebody = do("Add", do("Max", masked_logit, bare_logit), do("Softplus", do("Neg", apart)))
    around = do("MaxPool", somebody, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
    peak = do("Where", do("GreaterOrEqual", somebody, around), somebody, -1e4)
    cells = graph.name(f"{layer.name}/cells")
    z = graph.name(f"{layer.name}/z")
    flat = do("Reshape", peak, [-1, rows * columns])
    _top(graph, layer.name, flat, do.constant([count]), z, cells)
    at = do("Expand", do("Unsqueeze", cells, [1]), [1, 6, 1])
    taken = do("GatherElements", do("Reshape", inputs[0], [-1, 6, rows * columns]), at, axis=2)
    masked_at, bare_at, dx, dy, width, height = (do("Gather", taken, channel, axis=1) for channel in range(6))
    step = layer.size[0] / columns, layer.size[1] / rows
    column = do("Cast", do("Mod", cells, columns), to=1)
    row = do("Cast", do("Div", cells, columns), to=1)
    edges: dict[str, str] = {}
    for name, offset, cell, extent, side in (("x", dx, column, width, step[0]), ("y", dy, row, height, step[1])):
        centre = do("Mul", do("Add", do("Add", offset, cell), 0.5), side)
        half = do("Mul", do("Exp", do("Clip", extent, -3.0, 6.0)), side / 2)
        edges[f"low {name}"], edges[f"high {name}"] = do("Sub", centre, half), do("Add", centre, half)
        edges[f"half {name}"] = half
    high = do("Max", do("Mul", edges["half y"], 2.0), 1.0)
    u = do("Log", do("Mul", high, 1 / TYPICAL_PX))
    score = do("Sigmoid", do.linear(calibration.score, z, u, do("Mul", u, u)))
    masked = do("Sigmoid", do.linear(calibration.wear, do("Sub", masked_at, bare_at), u))
    there = do("And", do("GreaterOrEqual", score, FLOOR), do("Greater", z, -9e3))
    score = do("Where", there, score, 0.0)

    def pairs(value: str) -> tuple[str, str]:
        return do("Unsqueeze", value, [2]), do("Unsqueeze", value, [1])

    sides = []
    for name in ("x", "y"):
        low, top = do("Max", *pairs(edges[f"low {name}"])), do("Min", *pairs(edges[f"high {name}"]))
        sides.append(do("Relu", do("Sub", top, low)))
    shared = do("Mul", *sides)
    area = do("Mul", do("Mul", edges["half x"], edges["half y"]), 4.0)
    union = do("Max", do("Sub", do("Add", *pairs(area)), shared), 1e-6)
    mine, others = pairs(score)
    gap = do("Sub", others, mine)
    earlier = np.tril(np.ones((1, count, count), np.float32), -1)
    equal = do("And", do("GreaterOrEqual", gap, 0.0), do("Greater", do.constant(earlier), 0.5))
    other = do("And", do("Or", do("Greater", gap, 0.0), equal), do("Greater", others, 0.0))
    smaller = do("Max", do("Min", *pairs(area)), 1e-6)
    alike = do(
        "Or", do("Greater", shared, do("Mul", union, OVERLAP)), do("Greater", shared, do("Mul", smaller, INSIDE))
    )
    again = do.true(do("And", other, alike))
    score = do("Where", do("Greater", do("ReduceMax", again, [2], keepdims=0), 0.5), 0.0, score)
    large = do("GreaterOrEqual", high, calibration.counting.min_face_px)
    sure = do("And", do("GreaterOrEqual", score, SHOWN), large)
    highest = do("ReduceMax", do("Where", sure, high, 0.0), [1], keepdims=1)
    near = do("GreaterOrEqual", high, do("Mul", highest, calibration.counting.min_face_share))
    counts = do.true(do("And", large, near))
    box = (edges[f"{end} {axis}"] for end in ("low", "high") for axis in ("x", "y"))
    return do("Concat", *(do("Unsqueeze", value, [2]) for value in (*box, score, masked, counts)), axis=2)


def _top(graph: Graph, name: str, values: str, count: str, best: str, cells: str) -> None:
    from onnx import helper

    graph.nodes.append(helper.make_node("TopK", [values, count], [best, cells], graph.name(f"{name}/topk"), axis=1))


def answer_of_faces(graph: Graph, layer: Any, inputs: list[str]) -> str:
    """:class:`allmasked.networks.readout.AnswerOfFaces`: faces (N, 64, 7) to P(all, none, some, nobody) (N, 4)."""
    do = _Writer(graph, layer.name)
    score, masked, counts = (do("Gather", inputs[0], channel, axis=2) for channel in (4, 5, 6))
    p = do("Mul", score, counts)

    def product(part: str) -> str:
        return do("ReduceProd", do("Sub", 1.0, part), [1], keepdims=1)

    nobody_bare = product(do("Mul", p, do("Sub", 1.0, masked)))
    nobody_masked, nobody = product(do("Mul", p, masked)), product(p)
    some = do("Add", do("Sub", do("Sub", 1.0, nobody_bare), nobody_masked), nobody)
    some = do("Mul", some, float(layer.some_factor))
    parts = (do("Sub", nobody_bare, nobody), do("Sub", nobody_masked, nobody), some, nobody)
    four = do("Clip", do("Concat", *parts, axis=1), 0.0, 1.0)
    return do("Div", four, do("ReduceSum", four, [1], keepdims=1))


def given_somebody(graph: Graph, layer: Any, inputs: list[str]) -> str:
    """:class:`allmasked.networks.readout.GivenSomebody`: (N, 4) to (N, 3)."""
    do = _Writer(graph, layer.name)
    there = do("Add", do("Gather", inputs[0], [0, 1, 2], axis=1), 1e-9)
    return do("Div", there, do("ReduceSum", there, [1], keepdims=1))
