"""Removes channels from a trained network with little loss, as the starting point of a smaller one.

The channels that the next convolution misses least go, and that convolution is fitted anew by least squares, so that
the remaining channels reproduce its outputs on real photos (He, Zhang & Sun 2017, arXiv:1707.06168, with the greedy
choice of optimal brain surgeon, Hassibi & Stork 1992). Some epochs of training recover the rest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import keras
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from model.networks.weights import Named, named

Floats = NDArray[np.float32]
Matrix = NDArray[np.float64]

SAMPLES = 1500  # pixels of each photo
CHUNK = 16
DAMPING = 1e-6  # of the Gram matrix's mean diagonal: dead channels make it singular
STEPS = 8  # the channels go in about so many steps, with a new fit after each


@dataclass(frozen=True)
class Cut:
    """`layers`: those whose channels go; `consumer`: the convolution that reads them, first of its inputs.

    `norm`: the BatchNorm after the consumer; `keep`: how many channels stay.
    """

    layers: tuple[str, ...]
    consumer: str
    norm: str
    keep: int


def thinned(wide: keras.Model, thin: keras.Model, photos: Floats) -> Named:
    """The weights of `wide`, cut to the widths of `thin`. photos: float32[n,size,size,3] in [-1, 1]."""
    weights = {name: list(arrays) for name, arrays in named(wide).items()}
    for cut in cuts(weights, named(thin)):
        fit = _Fit.of(wide, cut.consumer, photos)
        kept = fit.reduce(cut.keep)
        for name in cut.layers:
            weights[name] = [_along(array, kept) for array in weights[name]]
        kernel, constant = fit.kernel(weights[cut.consumer][0].shape[-1])
        weights[cut.consumer] = [kernel]
        gamma, beta, mean, variance = weights[cut.norm]
        weights[cut.norm] = [gamma, beta, mean - constant, variance]
    return weights


def cuts(wide: Named, thin: Named) -> list[Cut]:
    """Where `thin` has fewer channels than `wide`, for the names that `LiteUNet` gives its layers."""
    found = []
    blocks = [name.removesuffix("_expand") for name in wide if name.endswith("_expand")]
    for block in blocks:
        keep = thin[f"{block}_expand"][0].shape[-1]
        if keep < wide[f"{block}_expand"][0].shape[-1]:
            parts = tuple(f"{block}_{part}" for part in ("expand", "bn0", "dw", "bn1"))
            found.append(Cut(parts, f"{block}_project", f"{block}_bn2", keep))
    decoder = ("d16", "d8", "d4", "d2")
    for name, consumer in pairwise(decoder):
        keep = thin[name][0].shape[-1]
        if keep < wide[name][0].shape[-1]:
            found.append(Cut((name, f"{name}_bn"), consumer, f"{consumer}_bn", keep))
    return found


class _Fit:
    """Least squares of a convolution's outputs over its inputs' patches: `gram` = P'P, `cross` = P'Y.

    A row of P holds the k x k pixels of each channel, channel by channel, and a 1 at its end.
    """

    def __init__(self, gram: Matrix, cross: Matrix, area: int, channels: int, others: int) -> None:
        damping = DAMPING * np.trace(gram) / len(gram)
        self._gram, self._cross, self._area = gram + damping * np.eye(len(gram)), cross, area
        self._kept, self._others = list(range(channels)), list(range(channels, channels + others))

    @classmethod
    def of(cls, network: keras.Model, consumer: str, photos: Floats) -> "_Fit":
        convolution = network.get_layer(consumer)
        area = int(np.prod(convolution.kernel_size))
        inputs = convolution.kernel.shape[2]
        first = _first_input(convolution)
        gram, cross = np.zeros((area * inputs + 1,) * 2), np.zeros((area * inputs + 1, convolution.filters))
        for patches, outputs in _samples(network, convolution, photos):
            gram += patches.T @ patches
            cross += patches.T @ outputs
        return cls(gram, cross, area, first, inputs - first)

    def reduce(self, keep: int) -> list[int]:
        """Drop channels until `keep` are left; return those."""
        count = max(1, (len(self._kept) - keep) // STEPS)
        while len(self._kept) > keep:
            solution, inverse = self._solved()
            costs = [self._cost(solution, inverse, place) for place in range(len(self._kept))]
            gone = set(np.argsort(costs)[: min(count, len(self._kept) - keep)].tolist())
            self._kept = [channel for place, channel in enumerate(self._kept) if place not in gone]
        return self._kept

    def kernel(self, filters: int) -> tuple[Floats, Floats]:
        """The fitted kernel[k,k,in,out] over the kept channels and the other inputs, and the constant [out]."""
        solution, _ = self._solved()
        side = round(self._area**0.5)
        taps = solution[:-1].reshape(-1, side, side, filters).transpose(1, 2, 0, 3)
        return taps.astype(np.float32), solution[-1].astype(np.float32)

    def _solved(self) -> tuple[Matrix, Matrix]:
        channels = np.array([*self._kept, *self._others])
        rows = (channels[:, None] * self._area + np.arange(self._area)).ravel()
        rows = np.append(rows, len(self._gram) - 1)
        inverse = np.linalg.inv(self._gram[np.ix_(rows, rows)])
        return inverse @ self._cross[rows], inverse

    def _cost(self, solution: Matrix, inverse: Matrix, place: int) -> float:
        """How much the squared error grows without the channel at `place`, the others fitted anew."""
        rows = slice(place * self._area, (place + 1) * self._area)
        return float(np.sum(solution[rows] * np.linalg.solve(inverse[rows, rows], solution[rows])))


def _first_input(convolution: keras.layers.Conv2D) -> int:
    """How many of the convolution's input channels come from the layer that is cut: all, or those before the skip."""
    before = convolution.input._keras_history.operation
    entry = before.input[0] if isinstance(before, keras.layers.Concatenate) else convolution.input
    return int(entry.shape[-1])


def _samples(network: keras.Model, convolution: keras.layers.Conv2D, photos: Floats) -> Iterator[tuple[Matrix, Matrix]]:
    probe, side = keras.Model(network.input, [convolution.input, convolution.output]), convolution.kernel_size[0]
    rng, edge = np.random.default_rng(0), side // 2
    for start in range(0, len(photos), CHUNK):
        x, y = (np.asarray(part) for part in probe.predict_on_batch(photos[start : start + CHUNK]))
        patches = sliding_window_view(x, (side, side), axis=(1, 2))  # [n,h-2e,w-2e,c,k,k]
        inner = y[:, edge : y.shape[1] - edge, edge : y.shape[2] - edge]
        for one, outputs in zip(patches, inner, strict=True):
            flat, wanted = one.reshape(-1, *one.shape[2:]), outputs.reshape(-1, outputs.shape[-1])
            chosen = rng.choice(len(flat), min(len(flat), SAMPLES), replace=False)
            rows = flat[chosen].reshape(len(chosen), -1)
            yield np.column_stack([rows, np.ones(len(rows))]).astype(np.float64), wanted[chosen].astype(np.float64)


def _along(array: Floats, kept: list[int]) -> Floats:
    """The kept channels of a kernel[h,w,in,out], a depthwise kernel[h,w,channels,1] or a vector[channels]."""
    depthwise = array.ndim == 4 and array.shape[-1] == 1
    return np.take(array, kept, axis=-2 if depthwise else -1)
