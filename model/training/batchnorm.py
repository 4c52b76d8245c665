"""BatchNorm statistics that fit the weights."""

from collections.abc import Iterable

import keras
import numpy as np
from numpy.typing import NDArray

from model.networks.layers import layers


def settle(network: keras.Model, batches: Iterable[NDArray[np.float32]]) -> None:
    """Measure the BatchNorms' statistics anew, as plain means over `batches`, for the weights as they are now.

    The moving statistics were gathered under other weights than the averaged ones; with them, the averaged weights
    lose a third of their quality (Izmailov et al. 2018, arXiv:1803.05407, section 3.2).
    """
    norms = _norms(network)
    momenta = [norm.momentum for norm in norms]
    for step, batch in enumerate(batches):
        for norm in norms:
            norm.momentum = step / (step + 1)
        network(batch, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _norms(network: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [layer for layer in layers(network) if isinstance(layer, keras.layers.BatchNormalization)]
