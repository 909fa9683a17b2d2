"""Weights from files: PyTorch's ``.pth`` (without PyTorch, without running pickled code), Keras' ``.h5``, ``.keras``.

Everything raises :class:`~allmasked.core.errors.WeightsError`, one line that names the file and says why it does not
fit.
"""

from __future__ import annotations

import collections
import importlib.util
import io
import math
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from allmasked.core.errors import WeightsError, how_to_install

if TYPE_CHECKING:
    import h5py
    import keras

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""First pickle of a ``.pth`` written by PyTorch before 1.6 (or with ``_use_new_zipfile_serialization=False``)."""

STORAGES: Mapping[str, str] = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "|i1", "ByteStorage": "|u1", "BoolStorage": "|b1",
}  # fmt: skip
"""PyTorch's storage classes that are understood, and the NumPy type of their numbers."""


MAX_STEPS = 1_000_000
"""Of a pickle; that of EfficientNet-Lite2 has 14,000."""

_STEPS = re.compile(
    "PROTO|FRAME|STOP|MARK|GLOBAL|STACK_GLOBAL|REDUCE|BUILD|BINPERSID|(LONG_)?BIN(PUT|GET)|MEMOIZE|EMPTY_(DICT|LIST|TUPLE)"
    "|SETITEMS?|APPENDS?|TUPLE[123]?|NONE|NEWTRUE|NEWFALSE|BININT[12]?|LONG1|BINFLOAT|(SHORT_)?BINUNICODE"
)
"""The instructions that PyTorch writes for a state dict."""


class _Storage(NamedTuple):
    key: str
    dtype: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Knows three names (an ordered dictionary, a tensor, a storage) and refuses all others, so no code can run.

    Tensors become tuples that describe them; arrays are made of them only after unpickling.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):

            def tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
                return _Tensor(storage, offset, tuple(shape), tuple(strides))

            return tensor
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise WeightsError(f"it asks for {module}.{name}, which is not let in")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count = pid[:5]
        if kind != "storage" or dtype not in STORAGES.values() or not isinstance(count, int) or count < 0:
            raise WeightsError("it holds a storage of an unknown kind")
        return _Storage(str(key), dtype, count)


def _unpickled(file: IO[bytes]) -> Any:
    """The next pickle of a file, after a look at its instructions: few bytes can ask for any amount of memory (a memo
    of a billion places) or time (a tuple of the same tuple twice, of the same tuple twice, and so on)."""
    start, before = file.tell(), ""
    memo, tuples = set[int](), set[int]()
    for number, (step, argument, _) in enumerate(pickletools.genops(file)):
        if number == MAX_STEPS or not _STEPS.fullmatch(step.name):
            raise WeightsError("its pickle holds what no state dict needs")
        if "PUT" in step.name or step.name == "MEMOIZE":
            place = len(memo) if argument is None else int(argument)
            if place > number:
                raise WeightsError("its pickle holds what no state dict needs")
            memo.add(place)
            (tuples.add if before.startswith("TUPLE") else tuples.discard)(place)
        elif "BINGET" in step.name and argument in tuples:
            raise WeightsError("its pickle uses a tuple twice")
        before = step.name
    file.seek(start)
    return _Unpickler(file).load()


def read_pth(path: str | Path) -> dict[str, NDArray[Any]]:
    """Read a PyTorch state dict (``.pth``, ``.pt``; zip or legacy format) without PyTorch.

    Only an ordered dictionary of tensors is let in; any other class or function in the file is refused before it
    could run (see :class:`_Unpickler`).

    Returns:
        name -> array, each contiguous, shapes and types as in the file.

    Raises:
        WeightsError: missing, damaged, not a state dict, or holding anything but tensors.
    """
    path = Path(path)
    try:
        state, raw = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        if not isinstance(state, dict) or not all(isinstance(value, _Tensor) for value in state.values()):
            raise WeightsError("it is not a dictionary of tensors")
        sizes = (math.prod(one.shape) * np.dtype(one.storage.dtype).itemsize for one in state.values())
        if sum(sizes) > 4 * path.stat().st_size:
            raise WeightsError("its tensors are far larger than the file")
        return {str(name): _array(tensor, raw) for name, tensor in state.items()}
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such weights file") from None
    except WeightsError as error:
        raise WeightsError(f"{path}: is refused as PyTorch weights: {error}") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise WeightsError(f"{path}: cannot be read as PyTorch weights ({first_line(error)})") from None


def _read_zip(path: Path) -> tuple[Any, Callable[[_Storage], bytes]]:
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
            raise WeightsError("its parts are larger than the file (PyTorch doesn't compress)")
        contents = {name: archive.read(name) for name in archive.namelist() if "/data" in name or "byteorder" in name}
    pickles = [name for name in contents if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise WeightsError("the archive holds no data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if contents.get(f"{folder}byteorder", b"little").strip() != b"little":
        raise WeightsError("its numbers are big-endian")
    state = _unpickled(io.BytesIO(contents[pickles[0]]))
    return state, lambda storage: contents[f"{folder}data/{storage.key}"]


def _read_legacy(path: Path) -> tuple[Any, Callable[[_Storage], bytes]]:
    """Five pickles (magic, protocol, machine, state, storage keys), then each storage: int64 count and its numbers."""
    with path.open("rb") as file:
        if _unpickled(file) != LEGACY_MAGIC:
            raise WeightsError("it is no PyTorch file")
        _unpickled(file)
        if not _unpickled(file).get("little_endian", True):
            raise WeightsError("its numbers are big-endian")
        state = _unpickled(file)
        keys = _unpickled(file)
        if not isinstance(state, dict):
            raise WeightsError("it is not a dictionary of tensors")
        storages = {value.storage.key: value.storage for value in state.values() if isinstance(value, _Tensor)}
        raw: dict[str, bytes] = {}
        for key in keys:
            if key not in storages:
                raise WeightsError("its storages do not belong to its tensors")
            count = int.from_bytes(file.read(8), "little")
            if count != storages[key].length:
                raise WeightsError("it is cut off or damaged")
            raw[key] = file.read(count * np.dtype(storages[key].dtype).itemsize)
    return state, lambda storage: raw[storage.key]


def _array(tensor: _Tensor, raw: Callable[[_Storage], bytes]) -> NDArray[Any]:
    """The array that a tensor describes, with every bound checked before memory is looked at."""
    numbers = np.frombuffer(raw(tensor.storage), tensor.storage.dtype)
    fields = (tensor.offset, *tensor.shape, *tensor.strides)
    if len(tensor.shape) != len(tensor.strides) or not all(type(n) is int and n >= 0 for n in fields):
        raise WeightsError("a tensor's shape makes no sense")
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides))
    if numbers.size != tensor.storage.length or (last >= numbers.size and 0 not in tensor.shape):
        raise WeightsError("it is cut off or damaged")
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, numbers.dtype)
    if math.prod(tensor.shape) > numbers.size:  # a broadcast view could ask for any amount of memory
        raise WeightsError("a tensor is larger than its storage")
    strides = tuple(stride * numbers.itemsize for stride in tensor.strides)
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)
    return np.ascontiguousarray(view).reshape(tensor.shape)


def package_pth(module: str) -> Path:
    """The ``.pth`` that the installed package ``module`` brings (none of its code is run).

    Raises:
        WeightsError: the package is not installed, or does not hold exactly one such file.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        distribution = module.replace("_", "-")
        raise WeightsError(f"{distribution} is not installed, which brings the weights: {how_to_install('train')}")
    found = sorted(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))
    if len(found) != 1:
        raise WeightsError(f"{module} holds {len(found)} weight files, not 1; install it anew")
    return found[0]


def lite_arrays(state: Mapping[str, NDArray[Any]], blocks: Iterable[str]) -> dict[str, list[NDArray[Any]]]:
    """Layer name -> Keras weights of an EfficientNet-Lite, from the state dict of ``efficientnet-lite-pytorch``.

    PyTorch's convolutions (out, in, height, width) become (height, width, in, out), depthwise ones (height, width,
    channel, 1). ``blocks`` are the names of the blocks in order, such as ``block1a``.

    Raises:
        KeyError: a tensor is missing.
    """

    def kernel(name: str) -> list[NDArray[Any]]:
        return [state[f"{name}.weight"].transpose(2, 3, 1, 0)]

    def norm(name: str) -> list[NDArray[Any]]:
        return [state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]

    arrays = {"stem_conv": kernel("_conv_stem"), "stem_bn": norm("_bn0")}
    for number, block in enumerate(blocks):
        source = f"_blocks.{number}"
        if f"{source}._expand_conv.weight" in state:
            arrays[f"{block}_expand_conv"] = kernel(f"{source}._expand_conv")
            arrays[f"{block}_expand_bn"] = norm(f"{source}._bn0")
        arrays[f"{block}_dwconv"] = [state[f"{source}._depthwise_conv.weight"].transpose(2, 3, 0, 1)]
        arrays[f"{block}_bn"] = norm(f"{source}._bn1")
        arrays[f"{block}_project_conv"] = kernel(f"{source}._project_conv")
        arrays[f"{block}_project_bn"] = norm(f"{source}._bn2")
    arrays["top_conv"] = kernel("_conv_head")
    arrays["top_bn"] = norm("_bn1")
    arrays["predictions"] = [state["_fc.weight"].T, state["_fc.bias"]]
    return arrays


def load_weights(model: keras.Model, path: str | Path, *, lite_blocks: Iterable[str] | None = None) -> None:
    """Fill a backbone with the weights of a file, whatever of these it is.

    - ``.keras``: a model that holds this backbone, or a ``keras.applications`` model; layers are found by name.
    - ``.h5`` of Keras 2 (the official ``..._notop.h5`` files are of this kind): layers are taken in order.
    - ``.weights.h5`` of Keras 3.
    - ``.pth``, ``.pt``: where ``lite_blocks`` names the blocks of an EfficientNet-Lite.

    Raises:
        WeightsError: the file is missing, damaged, of another kind, or of another network.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    suffix = path.suffix.lower()
    if suffix in (".pth", ".pt"):
        if lite_blocks is None:
            raise WeightsError(f"{path}: PyTorch weights are only understood for the EfficientNetLite backbones")
        try:
            arrays = lite_arrays(read_pth(path), lite_blocks)
        except KeyError as error:
            raise WeightsError(f"{path}: does not fit {model.name}: holds no {error.args[0]!r}") from None
        _assign_by_name(model, arrays, path)
    elif suffix == ".keras":
        refuse_large(path)
        _assign_by_name(model, _layers_of(path), path)
    elif h5py.is_hdf5(path):
        with h5py.File(path) as file:
            if reason := _hostile(file):
                raise WeightsError(f"{path}: is refused as weights: {reason}")
            group = file.get("model_weights", file)
            listed = _listed(group) if "layer_names" in group.attrs else None
        if listed is not None:
            _assign_in_order(model, listed, path)
        else:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # one for each missing group, before the error
                    model.load_weights(path)
            except Exception as error:
                raise WeightsError(f"{path}: does not fit {model.name} ({first_line(error)})") from None
    else:
        raise WeightsError(f"{path}: is neither a .keras, .h5, .weights.h5 nor a .pth file")


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copy the weights of a ``keras.applications`` model to the backbone made of it, layer by layer in order."""
    _assign_in_order(target, [(layer.name, layer.get_weights()) for layer in source.layers], Path(source.name))


def auto_numbered(layers: Iterable[Any]) -> dict[str, str]:
    """Layer name -> the name it would have in a fresh session.

    Keras numbers unnamed layers through a whole session (``conv2d_94``); here each kind counts from 0 again, in the
    same order, so that a network's layer names don't depend on what was built before it.
    """
    kinds: dict[str, list[tuple[int, str]]] = collections.defaultdict(list)
    names: dict[str, str] = {}
    for layer in layers:
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", type(layer).__name__).lower()
        names[layer.name] = layer.name
        match = re.fullmatch(rf"{kind}(?:_(\d+))?", layer.name)
        if match:
            kinds[kind].append((int(match[1] or 0), layer.name))
    for kind, found in kinds.items():
        for number, (_, name) in enumerate(sorted(found)):
            names[name] = f"{kind}_{number}" if number else kind
    return names


def _layers_of(path: Path) -> dict[str, list[NDArray[Any]]]:
    """Layer name -> weights of a ``.keras`` file; only those of its part named ``backbone`` where there is one."""
    import keras

    import allmasked.networks.second_look  # noqa: F401  (Keras must know our layers, those of the reading too)

    def flat(model: keras.Model) -> Iterable[Any]:
        for layer in model.layers:
            yield from flat(layer) if isinstance(layer, keras.Model) else [layer]

    def backbone(model: keras.Model) -> keras.Model | None:
        if model.name == "backbone":
            return model
        parts = (backbone(layer) for layer in model.layers if isinstance(layer, keras.Model))
        return next((part for part in parts if part is not None), None)

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise WeightsError(f"{path}: cannot be read as a Keras model ({first_line(error)})") from None
    layers = list(flat(backbone(model) or model))
    names = auto_numbered(layers)
    return {names[layer.name]: layer.get_weights() for layer in layers}


MAX_PARTS, MAX_PART_BYTES = 10_000, 4_000_000_000
"""Of a ``.keras`` file, unpacked; the largest backbone has 80 MB."""


def refuse_large(path: Path) -> None:
    """Raise WeightsError for a ``.keras`` file, which is a zip file, that would unpack to more than any model needs."""
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = [member.file_size for member in archive.infolist()]
    except (zipfile.BadZipFile, OSError):
        return  # Keras says what is wrong with it
    if len(sizes) > MAX_PARTS or sum(sizes) > MAX_PART_BYTES:
        raise WeightsError(f"{path}: is refused as a model: unpacked it has {len(sizes):,} parts, {sum(sizes):,} bytes")


def _hostile(file: h5py.File) -> str:
    """Why an HDF5 file is refused: its numbers lie in other files, or are far more than it holds; '' if it isn't.

    Links within the file are refused too: Keras writes none.
    """
    import h5py

    seen, waiting = {h5py.h5o.get_info(file.id).addr}, [file]
    while waiting:
        group = waiting.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                return f"{name!r} is a link, perhaps to another file"
            item = group[name]
            if (place := h5py.h5o.get_info(item.id).addr) in seen:
                return f"{name!r} stands in it twice"
            seen.add(place)
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    return f"the numbers of {name!r} lie in another file"
                if item.dtype.kind not in "fiub":
                    return f"{name!r} holds no numbers"
                if item.nbytes > 1_000_000 and item.nbytes > 16 * item.id.get_storage_size():
                    return f"{name!r} says to be far larger than it is"
    return ""


def _listed(group: Any) -> list[tuple[str, list[NDArray[Any]]]]:
    """The layers of a Keras 2 weights file in order: name and arrays."""

    def names(item: Any, key: str) -> list[str]:
        parts = [item.attrs[key]] if key in item.attrs else []
        while f"{key}{len(parts)}" in item.attrs:  # long lists are cut into numbered pieces
            parts.append(item.attrs[f"{key}{len(parts)}"])
        return [name.decode() if isinstance(name, bytes) else str(name) for part in parts for name in part]

    return [
        (layer, [np.asarray(group[layer][weight]) for weight in names(group[layer], "weight_names")])
        for layer in names(group, "layer_names")
    ]


def _assign_in_order(model: keras.Model, listed: Iterable[tuple[str, list[NDArray[Any]]]], path: Path) -> None:
    # A backbone has its own input scaling, so the statistics of a Normalization layer are left out.
    found = [(name, arrays) for name, arrays in listed if arrays and not name.startswith("normalization")]
    wanted = [layer for layer in model.layers if layer.weights]
    if len(found) != len(wanted):
        raise WeightsError(
            f"{path}: does not fit {model.name}: holds {len(found)} layers with weights instead of {len(wanted)}"
            " (files without the top classifier, '..._notop.h5', are needed)"
        )
    for layer, (_, arrays) in zip(wanted, found):
        _assign(layer, arrays, model, path)


def _assign_by_name(model: keras.Model, arrays: Mapping[str, list[NDArray[Any]]], path: Path) -> None:
    for layer in model.layers:
        if layer.weights:
            if layer.name not in arrays:
                raise WeightsError(f"{path}: does not fit {model.name}: holds no layer {layer.name!r}")
            _assign(layer, arrays[layer.name], model, path)


def _assign(layer: Any, arrays: list[NDArray[Any]], model: keras.Model, path: Path) -> None:
    want, have = [tuple(weight.shape) for weight in layer.weights], [tuple(array.shape) for array in arrays]
    if want != have:
        raise WeightsError(f"{path}: does not fit {model.name}: layer {layer.name!r} has shapes {have}, not {want}")
    layer.set_weights(arrays)


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
