"""Photos to the network's input, and its confidence in what it found."""

from functools import reduce

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def scale_to_input(photo: Image.Image, size: int) -> NDArray[np.uint8]:
    """An RGB photo of any size squeezed to uint8[size,size,3]."""
    return np.asarray(photo.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0))


def to_network(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """0 .. 255 → -1 .. 1, the range that every network takes."""
    return pixels.astype(np.float32) / np.float32(127.5) - 1


def confidence(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32[h,w,classes] → the probability (softmax) of the likeliest class, float32[h,w], 1/classes .. 1."""
    # One class plane at a time: several times faster than numpy's reductions over an axis this short.
    planes = [logits[..., index] for index in range(logits.shape[-1])]
    best = reduce(np.maximum, planes)
    probability: NDArray[np.float32] = 1.0 / reduce(np.add, [np.exp(plane - best) for plane in planes])
    return probability


def probability(logits: NDArray[np.float32], class_id: int) -> NDArray[np.float32]:
    """float32[h,w,classes] → the probability (softmax) of one class, float32[h,w], 0 .. 1."""
    one = logits[..., class_id]
    others = [np.exp(logits[..., index] - one) for index in range(logits.shape[-1]) if index != class_id]
    # A logit far below another one may overflow to infinity, whose reciprocal is the right 0.
    chosen: NDArray[np.float32] = 1.0 / (1.0 + reduce(np.add, others))
    return chosen


def to_levels(probability: NDArray[np.float32], most: int) -> NDArray[np.uint8]:
    """0 .. 1 → 0 .. `most`, rounded."""
    return (probability * most + 0.5).astype(np.uint8)
