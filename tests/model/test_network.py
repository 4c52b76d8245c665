"""The network and its rewrites for the engines, compared with Keras."""

from pathlib import Path

import numpy as np
import pytest
from services import SHIPPED_MODEL

from model.engines import ENGINES

keras = pytest.importorskip("keras", reason="needs the `train` extra")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def shaken(unet: "keras.Model", seed: int) -> None:
    """Randomize the BatchNorm statistics: the initial ones would hide a mistake in folding them."""
    rng = np.random.default_rng(seed)
    for layer in unet.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, *_ = layer.get_weights()
            n = len(gamma)
            layer.set_weights(
                [rng.uniform(0.5, 1.5, n), rng.normal(0, 0.2, n), rng.normal(0, 0.2, n), rng.uniform(0.5, 1.5, n)]
            )


def test_the_network_is_the_one_of_the_tutorial() -> None:
    from model.unet import build_unet

    unet = build_unet(classes=3)
    assert unet.count_params() == 6_504_227
    assert unet.output_shape == (None, 128, 128, 3)


@pytest.mark.parametrize("size", [1, 4, 7])
def test_a_transposed_convolution_by_phases_is_exact(size: int) -> None:
    import tensorflow as tf

    from model.export import transposed_at_once, transposed_by_phases

    rng = np.random.default_rng(size)
    x = rng.normal(size=(2, size, size, 5)).astype(np.float32)
    layer = keras.layers.Conv2DTranspose(6, 3, strides=2, padding="same")
    expected = np.asarray(layer(x))
    kernel, bias = layer.get_weights()
    np.testing.assert_allclose(transposed_by_phases(tf.constant(x), kernel, bias, tf.identity), expected, atol=1e-5)
    np.testing.assert_allclose(transposed_at_once(tf.constant(x), kernel, bias), expected, atol=1e-5)


def differences(unet: "keras.Model", x: np.ndarray) -> dict[str, float]:
    """Return the largest difference of a logit between Keras and each rewrite.

    x: float32[n,128,128,3]
    """
    import tensorflow as tf

    from model.export import rewritten
    from model.fold import folded

    expected = np.asarray(unet(x, training=False))
    made = {"folded": folded(unet)(x, training=False), "by phases": rewritten(unet)(tf.constant(x))}
    return {name: float(np.abs(np.asarray(logits) - expected).max()) for name, logits in made.items()}


def test_the_rewritten_network_computes_the_same() -> None:
    from model.unet import build_unet

    keras.utils.set_random_seed(1)
    unet = build_unet(classes=3)
    shaken(unet, 1)
    x = np.random.default_rng(3).uniform(-1, 1, (2, 128, 128, 3)).astype(np.float32)
    assert max(differences(unet, x).values()) < 1e-4


def test_the_shipped_network_rewritten_computes_the_same_on_real_photos(pets: Path) -> None:
    from model.data import examples, squeezed
    from model.unet import load_unet

    photos = np.stack([photo for photo, _ in squeezed(examples(pets, "test")[::40], 128)])
    unet = load_unet(SHIPPED_MODEL / ENGINES["tensorflow"].file, 3)
    assert max(differences(unet, photos.astype(np.float32) / 127.5 - 1).values()) < 1e-4


def test_recalibrated_batchnorms_compute_the_same_and_are_fit_for_training(pets: Path) -> None:
    from model.data import examples, squeezed
    from model.train import PACK_ENCODER, recalibrate_batchnorms
    from model.unet import build_encoder

    photos = np.stack([photo for photo, _ in squeezed(examples(pets, "train")[::50], 128)])
    x = photos.astype(np.float32) / 127.5 - 1
    encoder, plain = (build_encoder(str(pets / PACK_ENCODER)) for _ in range(2))
    before, broken = np.asarray(encoder(x)), np.asarray(plain(x, training=True))
    recalibrate_batchnorms(encoder, x)
    after, fit = np.asarray(encoder(x)), np.asarray(encoder(x, training=True))
    assert np.abs(after - before).max() < 1e-3
    assert np.abs(fit - before).mean() < np.abs(broken - before).mean() / 2
