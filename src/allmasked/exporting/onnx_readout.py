"""The layers of :mod:`allmasked.networks.readout` as ONNX nodes: every engine and language gets answer and faces."""

from __future__ import annotations

from collections.abc import Sequence
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

    def top(self, values: str, count: int) -> tuple[str, str]:
        """The highest of values (N, ...) along axis 1, and where they stand."""
        from onnx import helper

        best, at = self.graph.name(f"{self.layer}/z"), self.graph.name(f"{self.layer}/cells")
        name = self.graph.name(f"{self.layer}/topk")
        self.graph.nodes.append(helper.make_node("TopK", [values, self.constant([count])], [best, at], name, axis=1))
        return best, at

    def edges(self, box: Sequence[str], column: Any, row: Any, cell: tuple[float, float]) -> dict[str, str]:
        """The edges and half sides, px, of boxes as the maps have them (dx, dy, log width, log height) in cells."""
        found: dict[str, str] = {}
        for name, offset, at, extent, side in (
            ("x", box[0], column, box[2], cell[0]),
            ("y", box[1], row, box[3], cell[1]),
        ):
            centre = self("Mul", self("Add", self("Add", offset, at), 0.5), side)
            half = self("Mul", self("Exp", self("Clip", extent, -3.0, 6.0)), side / 2)
            found[f"low {name}"], found[f"high {name}"] = self("Sub", centre, half), self("Add", centre, half)
            found[f"half {name}"] = half
        return found

    def shared_area(self, one: dict[str, str], other: dict[str, str]) -> tuple[str, str, str]:
        """:func:`allmasked.networks.readout.shared_area` of boxes (N, F) and (N, G) by their :meth:`edges`."""
        inner, areas = [], []
        for axis in ("x", "y"):
            low = self("Max", self("Unsqueeze", one[f"low {axis}"], [2]), self("Unsqueeze", other[f"low {axis}"], [1]))
            high = self(
                "Min", self("Unsqueeze", one[f"high {axis}"], [2]), self("Unsqueeze", other[f"high {axis}"], [1])
            )
            inner.append(self("Relu", self("Sub", high, low)))
        for boxes, axes in ((one, [2]), (other, [1])):
            areas.append(self("Unsqueeze", self("Mul", self("Mul", boxes["half x"], boxes["half y"]), 4.0), axes))
        return self("Mul", *inner), areas[0], areas[1]

    def true(self, condition: str) -> str:
        """1 where a condition holds, else 0."""
        return self("Where", condition, 1.0, 0.0)


class _Peaks:
    """The highest peaks of maps (N, 6, h, w), see :func:`allmasked.networks.readout.peaks_of_maps`; each value (N, F).

    Attributes:
        z: log-odds that somebody is there.
        masked, bare: logits.
        edges: of the boxes, px: "low x", "high x", "low y", "high y", and half their sides, "half x", "half y".
    """

    def __init__(self, do: _Writer, maps: str, shape: tuple[int, int], size: tuple[int, int], most: int) -> None:
        rows, columns = shape
        self.count = min(most, rows * columns)
        masked_logit, bare_logit = (do("Gather", maps, [channel], axis=1) for channel in (0, 1))
        apart = do("Abs", do("Sub", masked_logit, bare_logit))
        somebody = do("Add", do("Max", masked_logit, bare_logit), do("Softplus", do("Neg", apart)))
        around = do("MaxPool", somebody, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
        peak = do("Where", do("GreaterOrEqual", somebody, around), somebody, -1e4)
        flat = do("Reshape", peak, [-1, rows * columns])
        self.z, cells = do.top(flat, self.count)
        at = do("Expand", do("Unsqueeze", cells, [1]), [1, 6, 1])
        taken = do("GatherElements", do("Reshape", maps, [-1, 6, rows * columns]), at, axis=2)
        self.masked, self.bare, *box = (do("Gather", taken, channel, axis=1) for channel in range(6))
        column = do("Cast", do("Mod", cells, columns), to=1)
        row = do("Cast", do("Div", cells, columns), to=1)
        self.edges = do.edges(box, column, row, (size[0] / columns, size[1] / rows))


def find_faces(graph: Graph, layer: Any, inputs: list[str]) -> str:
    """:class:`allmasked.networks.readout.FindFaces`: maps (N, 6, h, w) to faces (N, 64, 7)."""
    do, calibration = _Writer(graph, layer.name), layer.calibration
    rows, columns = layer.input.shape[1:3]
    found = _Peaks(do, inputs[0], (rows, columns), layer.size, CANDIDATES)
    z, edges, count = found.z, found.edges, found.count
    high = do("Max", do("Mul", edges["half y"], 2.0), 1.0)
    u = do("Log", do("Mul", high, 1 / TYPICAL_PX))
    score = do("Sigmoid", do.linear(calibration.score, z, u, do("Mul", u, u)))
    masked = do("Sigmoid", do.linear(calibration.wear, do("Sub", found.masked, found.bare), u))
    there = do("And", do("GreaterOrEqual", score, FLOOR), do("Greater", z, -9e3))
    score = do("Where", there, score, 0.0)

    def pairs(value: str) -> tuple[str, str]:
        return do("Unsqueeze", value, [2]), do("Unsqueeze", value, [1])

    shared, own, their = do.shared_area(edges, edges)
    union = do("Max", do("Sub", do("Add", own, their), shared), 1e-6)
    mine, others = pairs(score)
    gap = do("Sub", others, mine)
    earlier = np.tril(np.ones((1, count, count), np.float32), -1)
    equal = do("And", do("GreaterOrEqual", gap, 0.0), do("Greater", do.constant(earlier), 0.5))
    other = do("And", do("Or", do("Greater", gap, 0.0), equal), do("Greater", others, 0.0))
    smaller = do("Max", do("Min", own, their), 1e-6)
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


def second_look(graph: Graph, layer: Any, inputs: list[str]) -> str:
    """:class:`allmasked.networks.second_look.SecondLook`: photos (N, 3, H, W) and maps (N, 6, h, w) to maps.

    Only crops of the candidates that are looked at are made, those of all photos as one batch.
    """
    from allmasked.networks import second_look as looks

    do = _Writer(graph, layer.name)
    photos, maps = inputs
    (height, width), (rows, columns) = (tensor.shape[1:3] for tensor in layer.input)
    size, cells, cell = (width, height), rows * columns, (width / columns, height / rows)
    found = _Peaks(do, maps, (rows, columns), size, looks.COUNT)
    edges, count = found.edges, found.count
    first = do.constant(np.arange(count)[None] < 1)
    looked = do("Or", do("GreaterOrEqual", found.z, looks.PROPOSED), do("Cast", first, to=9))
    chosen = do("Transpose", do("NonZero", looked), perm=[1, 0])  # (M, 2): photo, candidate
    half = do("Mul", do("Max", edges["half x"], edges["half y"]), looks.CONTEXT)
    sides = []
    for operation in ("Sub", "Add"):
        for axis in ("x", "y"):
            centre = do("Add", edges[f"low {axis}"], edges[f"half {axis}"])
            sides.append(do("Unsqueeze", do("GatherND", do(operation, centre, half), chosen), [1]))
    photo = do("Gather", chosen, 0, axis=1)
    crops = do(
        "RoiAlign", photos, do("Concat", *sides, axis=1), photo, mode="avg", sampling_ratio=looks.SAMPLES,
        output_height=layer.side, output_width=layer.side, coordinate_transformation_mode="half_pixel",
    )  # fmt: skip
    inside = {id(layer.network.inputs[0]): crops}
    graph.walk(layer.network, inside)
    said = inside[id(layer.network.outputs[0])]
    masked, bare, nothing = (do("Gather", said, channel, axis=1) for channel in range(3))
    z, d = (do("GatherND", value, chosen) for value in (found.z, do("Sub", found.masked, found.bare)))
    apart = do("Softplus", do("Neg", do("Abs", do("Sub", masked, bare))))
    somebody = do("Sub", do("Add", do("Max", masked, bare), apart), nothing)
    share, worn_share = layer.shares
    there = do("Mul", do("Sub", somebody, z), share)
    worn = do("Add", do("Mul", d, 1 - worn_share), do("Mul", do("Sub", masked, bare), worn_share))
    changes, none = [], do("Mul", found.z, 0.0)
    for sign in (-1.0, 1.0):  # of the masked logit, of the bare one
        old, new = (do("Softplus", do("Mul", value, sign)) for value in (d, worn))
        change = do("Add", there, do("Sub", old, new))
        changes.append(do("Unsqueeze", do("ScatterND", none, chosen, change), [2]))
    flat = do("Reshape", maps, [-1, 6, cells])
    box = [do("Gather", flat, channel, axis=1) for channel in range(2, 6)]
    at = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2).astype(np.float32)
    each = do.edges(box, at[:, 0], at[:, 1], cell)
    least = do("Max", do("Gather", found.z, [count - 1], axis=1), looks.PROPOSED)
    ramp = do("Mul", do("Sub", found.z, least), 1 / looks.FADING)
    fully = do("Unsqueeze", do("Clip", ramp, 0.0, 1.0), [1])
    shared, own, their = do.shared_area(each, edges)
    alike = do("Div", shared, do("Max", do("Sub", do("Add", own, their), shared), 1e-6))
    like = do("Mul", do("Sub", alike, looks.ALIKE), 1 / (looks.SAME - looks.ALIKE))
    mine = do("Mul", do("Clip", like, 0.0, 1.0), fully)
    mine = do("Div", mine, do("Max", do("ReduceSum", mine, [2], keepdims=1), 1.0))
    change = do("Transpose", do("MatMul", mine, do("Concat", *changes, axis=2)), perm=[0, 2, 1])
    logits = do("Add", do("Gather", maps, [0, 1], axis=1), do("Reshape", change, [-1, 2, rows, columns]))
    return do("Concat", logits, do("Gather", maps, [2, 3, 4, 5], axis=1), axis=1)


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
