"""The private parts of Keras that are used here: when Keras changes one, this says which, and what breaks by it.

``pyproject.toml`` bounds Keras from above for their sake. To raise the bound, run this, ``test_export.py`` and
``test_explain.py`` with the new version.
"""

from __future__ import annotations

import pytest

keras = pytest.importorskip("keras")


def broken(part: str, where: str) -> str:
    return f"Keras {keras.__version__} has no {part} as before; {where} needs another way to follow a model's layers"


def test_nodes_of_a_layer() -> None:
    """``exporting/onnx_graph.py`` walks the calls of each layer: from which tensors to which."""
    given = keras.Input((4,), name="given")
    shared = keras.layers.Dense(4, name="shared")
    once = shared(given)
    model = keras.Model(given, keras.layers.Add(name="sum")([once, shared(once)]))
    what = broken(
        "Operation._inbound_nodes with input_tensors, output_tensors and operation", "exporting/onnx_graph.py"
    )
    assert [layer.name for layer in model.operations] == ["given", "shared", "sum"], what
    calls = getattr(shared, "_inbound_nodes", ())
    assert len(calls) == 2, what
    assert calls[0].operation is shared, what
    assert [id(tensor) for tensor in calls[0].input_tensors] == [id(given)], what
    assert [id(tensor) for tensor in calls[0].output_tensors] == [id(once)], what
    assert [id(tensor) for tensor in calls[1].input_tensors] == [id(once)], what


def test_history_of_a_tensor() -> None:
    """``explaining/network.py`` finds the backbone's output by the layer that made it."""
    given = keras.Input((4,))
    layer = keras.layers.Dense(4)
    made = layer(given)
    history = getattr(made, "_keras_history", None)
    assert getattr(history, "operation", None) is layer, broken("KerasTensor._keras_history", "explaining/network.py")
