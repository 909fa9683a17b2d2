"""Weights files in the layout of Keras 2, for the tests."""

from pathlib import Path

import h5py


def write_keras2(path: Path, layers):
    """The layout of the official ``..._notop.h5`` files."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name, _ in layers]
        for layer, arrays in layers:
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/w{n}:0".encode() for n in range(len(arrays))]
            for number, array in enumerate(arrays):
                group[f"{layer}/w{number}:0"] = array
