"""The loss of segmentation with soft targets. Plain Keras 3: runs on every backend."""

import keras
from keras import ops


def soft_segmentation_loss(target: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
    """Cross-entropy plus the Jaccard metric loss, each about 0..1.

    target: float32[b,h,w,classes] class shares of each pixel, all zero where the mask is unlabelled; logits alike.
    The Jaccard part is Wang, Ning & Blaschko 2023 (arXiv:2302.05666), which unlike the usual soft Jaccard is smallest
    at target == prediction for soft targets too. It weighs every class alike, so a thin border counts as much as the
    background.
    """
    logits = ops.cast(logits, "float32")
    known = ops.sum(target, axis=-1, keepdims=True)
    log_chosen = ops.log_softmax(logits, axis=-1)
    entropy = -ops.sum(target * log_chosen) / ops.maximum(ops.sum(known), 1.0)
    chosen = ops.exp(log_chosen) * known
    total = ops.sum(chosen + target, axis=(0, 1, 2))
    apart = ops.sum(ops.abs(chosen - target), axis=(0, 1, 2))
    return entropy + 1 - ops.mean((total - apart) / (total + apart + 1.0))
