"""The contract of every row of BACKBONES, and the proof that EfficientNet-Lite is what PyTorch computes."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from allmasked.core.errors import ConfigError, WeightsError
from allmasked.exporting.round_trip import drawn_pictures
from allmasked.networks.backbones import BACKBONES, build_backbone, lite_blocks, notebook_frozen
from allmasked.networks.heads import HEADS
from allmasked.networks.pretrained import load_weights, package_pth
from weight_files import write_keras2

SIDE = 96  # px
BIG = ("InceptionResNetV2", "DenseNet201", "EfficientNetV2S")
LITE = tuple(name for name in BACKBONES if name.startswith("EfficientNetLite"))
APPLICATIONS = tuple(name for name in BACKBONES if name not in LITE)


def marked(names):
    return [pytest.param(name, marks=pytest.mark.slow) if name in BIG else name for name in names]


def size_of(name):
    """Width and height whose strides don't divide, so that every kind of padding and resizing is met."""
    return (112, 80) if BACKBONES[name].minimum_px <= 32 else (144, 112)


def photos(count=2, size=(SIDE, SIDE), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, size[1], size[0], 3)).astype(np.float32)


def answer(model, pixels):
    """What a model gives, without compiling it first (which takes longer than one batch)."""
    import keras

    return keras.ops.convert_to_numpy(model(pixels.astype(np.float32), training=False))


def stir(model, seed=0):
    """Random weights everywhere, batch statistics included, so that no two layers can be mistaken for another."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([random.uniform(0.8, 1.2, w.shape) for w in layer.get_weights()])


@pytest.fixture(scope="module", params=marked(BACKBONES))
def built(request, tmp_path_factory):
    """A row, its network filled from a file, and for ``keras.applications`` the network that the file was made of."""
    import keras

    row, (width, height) = BACKBONES[request.param], size_of(request.param)
    if row.name in LITE:
        return row, build_backbone(row.name, (width, height)), None
    keras.backend.clear_session()
    donor = getattr(keras.applications, row.name)(weights=None, include_top=False, input_shape=(height, width, 3))
    stir(donor)
    path = tmp_path_factory.mktemp("weights") / "notop.h5"
    write_keras2(path, [(layer.name, layer.get_weights()) for layer in donor.layers])
    return row, build_backbone(row.name, (width, height), path), donor


def strides(model):
    """Layer name -> how many px of the photo one step on its map is: the strides along the way, multiplied."""
    found = {}
    for layer in model.layers:
        before = [
            found[tensor._keras_history.operation.name]
            for node in layer._inbound_nodes
            for tensor in node.input_tensors
        ]
        step = getattr(layer, "strides", (1, 1))
        found[layer.name] = max(before, default=1) * (step[0] if isinstance(step, tuple) else step)
    return found


def test_features(built):
    row, model, _ = built
    assert model.name == "backbone"
    assert model.input.shape == (None, *size_of(row.name)[::-1], 3)
    assert len(model.output.shape) == 4
    found = strides(model)
    assert found[model.layers[-1].name] == 32
    assert found[row.stride16_layer] == 16
    deeper = [name for name, stride in found.items() if stride > 16]
    assert row.stride16_layer not in deeper and len(model.get_layer(row.stride16_layer).output.shape) == 4
    assert math.isclose(model.count_params() / 1e6, row.parameters_millions, abs_tol=0.1)


def test_the_only_preprocessing_is_the_scaling_layer(built):
    row, model, _ = built
    assert [layer.name for layer in model.layers[:2]] == ["photo", "scaling"]
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("Rescaling") == 1 and "Normalization" not in kinds and "Lambda" not in kinds
    np.testing.assert_allclose(model.layers[1].scale, row.scaling[0])
    np.testing.assert_allclose(model.layers[1].offset, row.scaling[1])


def test_the_network_is_that_of_keras(built):
    """Same features as ``keras.applications`` on what its own ``preprocess_input`` makes of the photos."""
    import keras

    row, model, donor = built
    if donor is None:
        pytest.skip("not in keras.applications")
    pixels = photos(size=size_of(row.name))
    if row.name == "EfficientNetB3":  # its graph with random weights divides by 255 and does no more
        scaled = (pixels * np.array(row.scaling[0]) + np.array(row.scaling[1])) * 255
    elif row.scales_itself_in_keras:
        scaled = pixels
    else:
        modules = {
            "Xception": "xception",
            "ResNet50V2": "resnet_v2",
            "InceptionV3": "inception_v3",
            "InceptionResNetV2": "inception_resnet_v2",
            "DenseNet201": "densenet",
        }
        scaled = getattr(keras.applications, modules[row.name]).preprocess_input(pixels.copy())
    wanted = answer(donor, scaled)
    have = answer(model, pixels)
    assert have.std() > 1e-4
    np.testing.assert_allclose(have, wanted, atol=1e-4 * max(1, np.abs(wanted).max()))


def test_the_notebooks_frozen_layers(built):
    """The same layers that ``model.layers[:20]`` names in ``keras.applications``, apart from its preprocessing."""
    row, model, donor = built
    frozen = notebook_frozen(row.name, model)
    if not row.notebook_frozen_layers:
        assert frozen == []
        return
    # With ImageNet weights EfficientNetB3 begins with one Rescaling more than this donor.
    names = [layer.name for layer in donor.layers[: 19 if row.name == "EfficientNetB3" else 20]]
    skipped = {type(layer).__name__: layer.name for layer in donor.layers[:4]}
    wanted = [name for name in names if name not in (skipped.get("Rescaling"), skipped.get("Normalization"))]
    assert frozen[2:] == wanted[1:]


def test_saved_and_loaded(built, tmp_path):
    import keras

    row, model, _ = built
    if row.name in BIG:  # the whole goes the same way as with the others, and takes long
        for layer in {type(layer): layer for layer in model.layers}.values():
            written = json.dumps(keras.saving.serialize_keras_object(layer))
            again = keras.saving.deserialize_keras_object(json.loads(written), safe_mode=True)
            assert type(again) is type(layer) and again.get_config() == layer.get_config()
        return
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    pixels = photos(size=size_of(row.name), seed=1)
    np.testing.assert_allclose(answer(again, pixels), answer(model, pixels), atol=1e-5)


def test_written_as_onnx(built, tmp_path):
    """With maps, so that the strides of 8 and 16 are read, too."""
    import keras

    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    from allmasked.exporting.onnx_graph import graph_of

    row, backbone, _ = built
    levels = [backbone.get_layer(name).output for name in (row.stride8_layer, row.stride16_layer)]
    width, height = size_of(row.name)
    pixels = keras.Input((height, width, 3), name="pixels")
    features = keras.Model(backbone.input, [*levels, backbone.output], name="backbone")(pixels)
    model = keras.Model(pixels, HEADS["evidence"].build(features, 0.1, (width, height)))
    model.get_layer("evidence").bias.assign([-1.2, -0.8])
    proto = graph_of(model)
    onnx.save(proto, tmp_path / "x.onnx")
    if row.name.startswith("EfficientNet"):
        assert "BatchNormalization" not in {node.op_type for node in proto.graph.node}
    session = onnxruntime.InferenceSession(str(tmp_path / "x.onnx"), providers=["CPUExecutionProvider"])
    drawn = drawn_pictures((width, height), 2, seed=3)
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"pixels": drawn})))
    expected = model(drawn.astype(np.float32), training=False)
    assert set(names) == set(expected)
    # From one processor's way of rounding to another's this one's maps differ by thousandths, its weights being random;
    # what is read off them may jump.
    chaotic = row.name == "EfficientNetV2S"
    for name, values in expected.items():
        values = np.asarray(values)
        assert np.ptp(values) > 0
        if name == "maps" or not chaotic:
            allowed = (2e-2 if chaotic else 1e-3) * max(1, np.abs(values).max())
            assert np.abs(found[name] - values).max() < allowed, name


def seeds(value):
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "seed":
                yield item
            else:
                yield from seeds(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from seeds(item)


def test_the_graph_does_not_depend_on_the_weights(built):
    row, model, _ = built
    if row.name in BIG:
        pytest.skip("takes long, and goes the same way as the others")
    random = build_backbone(row.name, size_of(row.name), "random", scaling="none", seed=7)
    assert [layer.name for layer in random.layers] == [layer.name for layer in model.layers]
    assert [(w.path, w.shape) for w in random.weights] == [(w.path, w.shape) for w in model.weights]
    drawn = list(seeds(random.get_config()))
    assert drawn and None not in drawn  # every initializer and every dropout is seeded


@pytest.mark.parametrize("name", ["EfficientNetLite0", "ResNet50V2"])
def test_random_weights_follow_the_seed(name):
    first, same, other = (build_backbone(name, (SIDE, SIDE), "random", seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    kernels = [(a, b) for a, b in zip(first, other, strict=True) if a.ndim == 4]
    assert not any(np.array_equal(a, b) for a, b in kernels)
    assert len({a.ravel()[:4].tobytes() for a, _ in kernels}) == len(kernels)  # no two layers start alike


@pytest.mark.parametrize("name", ["ResNet50V2", "EfficientNetLite0", "EfficientNetB3"])
def test_raw_pixels_as_in_the_notebooks(name):
    layer = build_backbone(name, (SIDE, SIDE), "random", scaling="none").layers[1]
    pixels = photos()
    want = pixels
    if BACKBONES[name].scales_itself_in_keras:
        want = pixels * np.array(BACKBONES[name].scaling[0]) + np.array(BACKBONES[name].scaling[1])
    np.testing.assert_allclose(np.asarray(layer(pixels)), want, rtol=1e-5, atol=1e-5)


def test_scaling_stays_exact_in_mixed_precision():
    import keras

    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_backbone("EfficientNetLite0", (32, 32), "random")
    finally:
        keras.config.set_dtype_policy("float32")
    pixels = photos(size=(32, 32)) + 0.4
    np.testing.assert_allclose(np.asarray(model.layers[1](pixels)), (pixels - 127) / 128, atol=1e-6)
    assert model.layers[2].compute_dtype == "bfloat16"


@pytest.mark.slow
def test_imagenet_with_keras_own_download(tmp_path, monkeypatch):
    """The download stands in as a local file: EfficientNetB3 scaled as Keras does it."""
    import keras
    from keras.src.utils import file_utils

    donor = keras.applications.EfficientNetB3(weights=None, include_top=False, input_shape=(SIDE, SIDE, 3))
    stir(donor)
    statistics = [np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225]), np.int64(0)]
    path = tmp_path / "efficientnetb3_notop.h5"
    write_keras2(
        path,
        [
            (layer.name, statistics if type(layer).__name__ == "Normalization" else layer.get_weights())
            for layer in donor.layers
        ],
    )
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(path))
    wanted = keras.applications.EfficientNetB3(weights="imagenet", include_top=False, input_shape=(SIDE, SIDE, 3))
    model = build_backbone("EfficientNetB3", (SIDE, SIDE), "imagenet")
    pixels = photos()
    np.testing.assert_allclose(answer(model, pixels), answer(wanted, pixels), atol=1e-4)


def test_imagenet_offline_is_one_line(monkeypatch, capsys):
    from keras.src.utils import file_utils

    def offline(*_, **__):
        print("Downloading data from somewhere")
        raise Exception("URL fetch failure on https://somewhere: None -- [Errno -2] Name or service not known")

    monkeypatch.setattr(file_utils, "get_file", offline)
    with pytest.raises(
        WeightsError, match=r"ResNet50V2: its ImageNet weights cannot be downloaded.*--weights"
    ) as caught:
        build_backbone("ResNet50V2", (SIDE, SIDE), "imagenet")
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_wrong_use():
    with pytest.raises(ConfigError, match="Did you mean 'EfficientNetLite0'"):
        build_backbone("EfficientnetLite0", (96, 96))
    with pytest.raises(ConfigError, match="at least 75 px a side, not 96 x 74"):
        build_backbone("InceptionV3", (96, 74))
    with pytest.raises(WeightsError, match="'package' weights; it takes imagenet, random or a file"):
        build_backbone("Xception", (96, 96), "package")
    with pytest.raises(WeightsError, match="'imagenet' weights; it takes package, random or a file"):
        build_backbone("EfficientNetLite0", (96, 96), "imagenet")
    with pytest.raises(WeightsError, match="no such weights file; besides a file, Xception takes"):
        build_backbone("Xception", (96, 96), "imagnet")


def test_the_table_needs_no_keras():
    code = (
        "import sys; from allmasked.networks.backbones import BACKBONES;"
        "print(len(BACKBONES), {'keras', 'tensorflow', 'h5py'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{len(BACKBONES)} set()"
    assert all(name == row.name and row.licence for name, row in BACKBONES.items())


# EfficientNet-Lite against PyTorch. Every 63rd of the 1000 logits that the package's own PyTorch code gives for
# waves(native size); made with efficientnet-lite-pytorch 0.1.0 and torch 2.13.
# fmt: off
LOGITS = {
    "EfficientNetLite0": (506, [0.58, -1.7795, -3.7195, 0.5863, -2.4957, 0.6014, -1.868, 0.4755, 5.8681, 2.527, -2.2787,
                                0.4937, 2.2582, -0.0996, -0.0221, -0.6626]),
    "EfficientNetLite1": (968, [-1.5282, -1.8441, -1.6852, -0.176, 0.4, -0.0089, -1.9876, 1.1748, 5.1468, 1.5392,
                                -2.4651, -1.6413, -0.4723, -0.6627, 0.8727, -0.3473]),
    "EfficientNetLite2": (714, [0.5068, 0.2909, 0.8359, -1.7401, 1.0887, -0.6185, -0.8098, 0.3369, 1.0904, 0.8048,
                                0.0199, 1.7588, -1.3295, 0.0151, -1.7432, 0.6657]),
}
# fmt: on


def waves(side):
    """A drawn photo: (side, side, 3) float32, 0-255."""
    y, x, channel = np.meshgrid(np.arange(side), np.arange(side), np.arange(3), indexing="ij")
    return (127.5 + 127.5 * np.sin(0.05 * (channel + 1) * y + 0.03 * x * (x / side))).astype(np.float32)


def build_lite_classifier(name, size):
    """An EfficientNet-Lite with its ImageNet classifier, to check the conversion: RGB 0-255 -> 1000 logits."""
    import keras

    row = BACKBONES[name]
    backbone = build_backbone(name, size, "random")
    x = keras.layers.GlobalAveragePooling2D(name="average")(backbone.output)
    model = keras.Model(backbone.input, keras.layers.Dense(1000, name="predictions")(x), name=f"{name}_classifier")
    load_weights(model, package_pth(row.package), lite_blocks=lite_blocks(row))
    return model


@pytest.mark.parametrize("name", LITE)
def test_lite_logits_are_pytorchs(name):
    side = BACKBONES[name].native_px
    (logits,) = answer(build_lite_classifier(name, (side, side)), waves(side)[None])
    top, wanted = LOGITS[name]
    assert logits.argmax() == top
    np.testing.assert_allclose(logits[::63], wanted, atol=1e-3)


@pytest.mark.torch
@pytest.mark.parametrize("name", LITE)
def test_all_lite_logits_against_pytorch_itself(name):
    """Opt-in: needs PyTorch and ``efficientnet-lite-pytorch``."""
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("efficientnet_lite_pytorch")

    side = BACKBONES[name].native_px
    pixels = np.stack([waves(side), *photos(2, (side, side))])
    torch_name = name.lower().replace("lite", "-lite")
    theirs = package.EfficientNet.from_pretrained(torch_name, weights_path=str(package_pth(BACKBONES[name].package)))
    with torch.no_grad():
        scaled = torch.from_numpy(((pixels - 127) / 128).transpose(0, 3, 1, 2).copy())
        wanted = theirs.eval()(scaled).numpy()
    ours = answer(build_lite_classifier(name, (side, side)), pixels)
    assert np.abs(ours - wanted).max() < 1e-3


@pytest.mark.slow
def test_the_same_features_on_jax():
    import keras

    pytest.importorskip("jax")
    code = (
        "import keras, numpy as np; from allmasked.networks.backbones import build_backbone;"
        "x = np.linspace(0, 255, 64 * 64 * 3, dtype='float32').reshape(1, 64, 64, 3);"
        "y = build_backbone('EfficientNetLite0', (64, 64)).predict(x, verbose=0);"
        "print(keras.backend.backend(), *y[0, 0, 0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=True,
    )
    backend, *values = done.stdout.split()
    assert (backend, keras.backend.backend()) == ("jax", "tensorflow")
    pixels = np.linspace(0, 255, 64 * 64 * 3, dtype="float32").reshape(1, 64, 64, 3)
    wanted = answer(build_backbone("EfficientNetLite0", (64, 64)), pixels)[0, 0, 0]
    assert wanted.std() > 0
    np.testing.assert_allclose(np.array(values, float), wanted, atol=1e-4)
