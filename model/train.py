"""Fine-tunes the U-Net on photos with masks.

    make train                      # encoder from the data pack
    make train ENCODER=imagenet     # encoder fetched by Keras; `none`: random weights
    make train ENCODER=model/weights/pets/2     # a version's encoder

Stage one trains the decoder over a frozen encoder, stage two the whole network. The saved weights are exponential
moving averages; data.json beside them lists the training photos.
"""

import argparse
import os
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from model.augmentation import Augmented
from model.card import CARD, Card
from model.data import MANIFEST, Example, examples, labels_of, manifest, squeezed
from model.engines import ENGINES
from model.unet import INPUT_SIZE, build_encoder, build_unet, layers, load_unet

BATCH_SIZE = 32
DECODER_EPOCHS, ALL_EPOCHS, WARMUP_EPOCHS = 2, 26, 2
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 1e-4
EMA_MOMENTUM = 0.998
LABEL_SMOOTHING = 0.05
ENCODER_BATCHNORM_MOMENTUM = 0.95
CALIBRATION_PHOTOS = 256
PACK_ENCODER = "encoder/mobilenet_v2_1.0_imagenet_notop_from_quant.weights.h5"


def segmentation_loss(truth: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Smoothed cross-entropy plus the soft Jaccard distance (Rahman & Wang 2016), each about 0..1.

    truth: uint8[b,h,w] class ids, pixels of 255 are left out; logits: float32[b,h,w,classes].
    """
    known = tf.cast(truth < logits.shape[-1], tf.float32)
    one_hot = tf.one_hot(tf.cast(truth, tf.int32), logits.shape[-1])
    entropy = keras.losses.categorical_crossentropy(one_hot, logits, from_logits=True, label_smoothing=LABEL_SMOOTHING)
    chosen = tf.nn.softmax(logits) * known[..., None]
    both = tf.reduce_sum(chosen * one_hot, axis=[0, 1, 2])
    either = tf.reduce_sum(chosen + one_hot, axis=[0, 1, 2]) - both
    mean_entropy = tf.reduce_sum(entropy * known) / tf.maximum(tf.reduce_sum(known), 1)
    return mean_entropy + 1 - tf.reduce_mean(both / (either + 1.0))


def recalibrate_batchnorms(encoder: keras.Model, photos: NDArray[np.float32]) -> None:
    """Give each BatchNorm the statistics of its real input and fold the difference into gamma and beta.

    The encoder computes the same function afterwards. Without this, weights whose BatchNorms were folded away
    (mean 0, variance 1) break as soon as training mode normalises with a batch's own statistics.

    photos: float32[n,128,128,3] in [-1, 1].
    """
    norms = [layer for layer in encoder.layers if isinstance(layer, keras.layers.BatchNormalization)]
    probe = keras.Model(encoder.input, [norm.input for norm in norms])
    sums = [np.zeros((2, *norm.gamma.shape)) for norm in norms]  # mean, mean of squares
    batches = [photos[start : start + 32] for start in range(0, len(photos), 32)]
    for batch in batches:
        for i, x in enumerate(probe(batch, training=False)):
            values = np.asarray(x, np.float64)
            sums[i] += np.stack([values, values**2]).mean(axis=(1, 2, 3)) / len(batches)
    for norm, (mean, square) in zip(norms, sums, strict=True):
        gamma, beta, old_mean, old_variance = (np.asarray(w, np.float64) for w in norm.get_weights())
        variance = np.maximum(square - mean**2, 0)
        scale = gamma / np.sqrt(old_variance + norm.epsilon)
        norm.set_weights([scale * np.sqrt(variance + norm.epsilon), beta + scale * (mean - old_mean), mean, variance])
        norm.momentum = ENCODER_BATCHNORM_MOMENTUM


def load_encoder(choice: str, data: Path, pairs: list[Example]) -> keras.Model:
    """`choice`: "pack" (from `data`), "imagenet", "none", a Keras weights file or the folder of a model version."""
    if (Path(choice) / CARD).is_file():
        classes = len(Card.load(Path(choice)).labels)
        return load_unet(Path(choice) / ENGINES["tensorflow"].file, classes).get_layer("encoder")
    weights = {"pack": str(data / PACK_ENCODER), "none": None}.get(choice, choice)
    encoder = build_encoder(weights)
    if weights:
        chosen = pairs[:: max(1, len(pairs) // CALIBRATION_PHOTOS)]
        photos = np.stack([photo for photo, _ in squeezed(chosen, INPUT_SIZE)])
        recalibrate_batchnorms(encoder, photos.astype(np.float32) / 127.5 - 1)
    return encoder


def fit(
    unet: keras.Model, batches: Augmented, epochs: int, warmup: int, *, checkpoint: Path, ema_momentum: float
) -> None:
    """Train for `epochs`; after each one `checkpoint` holds the averaged weights."""
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else LEARNING_RATE,
        decay_steps=(epochs - warmup) * len(batches),
        warmup_target=LEARNING_RATE if warmup else None,
        warmup_steps=warmup * len(batches),
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY, use_ema=True, ema_momentum=ema_momentum)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    # XLA makes this network slower on a CPU; on a GPU, Keras chooses well by itself.
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    unet.compile(optimizer, segmentation_loss, jit_compile="auto" if on_gpu else False)
    callbacks = [
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        keras.callbacks.ModelCheckpoint(checkpoint, save_weights_only=True),
    ]
    unet.fit(batches, epochs=epochs, callbacks=callbacks, verbose=2)


def settle_batchnorms(unet: keras.Model, batches: Augmented) -> None:
    """Measure the BatchNorms' statistics anew, as plain means over one pass, for the weights as they are now.

    The moving statistics were gathered under other weights than the averaged ones; with them, the averaged weights
    lose a third of their quality (Izmailov et al. 2018, arXiv:1803.05407, section 3.2).
    """
    norms = [layer for layer in layers(unet) if isinstance(layer, keras.layers.BatchNormalization)]
    for step in range(len(batches)):
        for norm in norms:
            norm.momentum = step / (step + 1)
        unet(batches[step][0], training=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGUE_DATA", ".")))
    parser.add_argument("--encoder", default="pack", help="pack, imagenet, none, a weights file or a version's folder")
    parser.add_argument("--out", type=Path, default=Path("var/training/unet.weights.h5"))
    parser.add_argument("--decoder-epochs", type=int, default=DECODER_EPOCHS)
    parser.add_argument("--epochs", type=int, default=ALL_EPOCHS, help="epochs of the whole network")
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE)
    parser.add_argument("--ema-momentum", type=float, default=EMA_MOMENTUM, help="choose less for fewer steps")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    keras.utils.set_random_seed(options.seed)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    pairs, labels = examples(options.data, "train"), labels_of(options.data)
    batches = Augmented(pairs, options.batch_size, INPUT_SIZE, options.seed)
    unet = build_unet(len(labels), load_encoder(options.encoder, options.data, pairs))
    saving = {"checkpoint": options.out, "ema_momentum": options.ema_momentum}
    if options.decoder_epochs:
        unet.get_layer("encoder").trainable = False
        fit(unet, batches, options.decoder_epochs, 0, **saving)
    if options.epochs:
        unet.get_layer("encoder").trainable = True
        fit(unet, batches, options.epochs, min(WARMUP_EPOCHS, options.epochs - 1), **saving)
    unet.load_weights(options.out)
    settle_batchnorms(unet, batches)
    unet.save_weights(options.out)
    (options.out.parent / MANIFEST).write_text(manifest(options.data))
    print(f"trained on {len(pairs)} photos → {options.out}")


if __name__ == "__main__":
    main()
