"""Photos to network input, logits to masks. Needs only Pillow, numpy and OpenCV's resize."""

import io
from functools import reduce

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from model.labels import Label


def scale_to_input(photo: Image.Image, size: int) -> NDArray[np.uint8]:
    """An RGB photo of any size squeezed to uint8[size,size,3]."""
    return np.asarray(photo.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0))


def to_mask(logits: NDArray[np.float32], width: int, height: int) -> NDArray[np.uint8]:
    """float32[h,w,classes] logits → uint8[height,width] class ids.

    The logits, not the ids, are scaled (bilinear, half-pixel centres): edges come out smooth instead of in blocks.
    One class plane at a time, so that a 25-megapixel mask needs two float planes, not one per class.
    """
    best = cv2.resize(np.ascontiguousarray(logits[..., 0]), (width, height), interpolation=cv2.INTER_LINEAR)
    mask = np.zeros((height, width), np.uint8)
    for index in range(1, logits.shape[-1]):
        plane = cv2.resize(np.ascontiguousarray(logits[..., index]), (width, height), interpolation=cv2.INTER_LINEAR)
        mask[plane > best] = index
        np.maximum(best, plane, out=best)
    return mask


def confidence(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32[h,w,classes] → the probability (softmax) of the likeliest class, float32[h,w], 1/classes .. 1."""
    # One class plane at a time: several times faster than numpy's reductions over an axis this short.
    planes = [logits[..., index] for index in range(logits.shape[-1])]
    best = reduce(np.maximum, planes)
    probability: NDArray[np.float32] = 1.0 / reduce(np.add, [np.exp(plane - best) for plane in planes])
    return probability


def to_levels(probability: NDArray[np.float32], most: int) -> NDArray[np.uint8]:
    """0 .. 1 → 0 .. `most`, rounded."""
    return (probability * most + 0.5).astype(np.uint8)


def to_mask_png(
    mask: NDArray[np.uint8], labels: tuple[Label, ...], text: dict[str, str], chunks: dict[bytes, bytes]
) -> bytes:
    """uint8[h,w] class ids → palette PNG in the labels' colours, with `text` in text chunks and `chunks` unchanged."""
    image = Image.fromarray(mask, mode="P")
    image.putpalette([channel for label in labels for channel in label.color])
    extra = PngInfo()
    for key, value in text.items():
        extra.add_text(key, value)
    for kind, content in chunks.items():
        extra.add(kind, content)
    buffer = io.BytesIO()
    # Level 1 costs three quarters of level 6 and a tenth of `optimize`, for a file a few per cent larger.
    image.save(buffer, "PNG", compress_level=1, pnginfo=extra)
    return buffer.getvalue()
