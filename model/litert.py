"""The CPU engine: LiteRT (the TensorFlow Lite runtime) with int8 weights."""

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from model.batching import in_batches
from model.card import Card
from model.engines import ENGINES


class LiteRTEngine:
    """One interpreter for each batch size, planned and packed once.

    One thread by default: one process per core is at least a third faster than one process with two threads.
    """

    def __init__(self, path: Path, card: Card, threads: int = 1) -> None:
        """Raises ValueError if `path` is not a network from uint8[?,size,size,3] to int8[?,size,size,classes]."""
        size, classes = card.input_size, len(card.labels)
        self._interpreters = {count: _interpreter(path, count, threads) for count in ENGINES["litert"].batch_sizes}
        (entry,), (output,) = _ends(self._interpreters[1])
        _expect("takes", entry, np.uint8, (1, size, size, 3))
        _expect("gives", output, np.int8, (1, size, size, classes))
        scale, zero = output["quantization"]
        self._output_scale, self._output_zero = np.float32(scale), np.float32(zero)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8[n,size,size,3] → float32[n,size,size,classes]."""
        return in_batches(images, ENGINES["litert"].batch_sizes, self._run)

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        interpreter = self._interpreters[len(images)]
        (entry,), (output,) = _ends(interpreter)
        interpreter.set_tensor(entry["index"], images)
        interpreter.invoke()
        quantised: NDArray[np.int8] = interpreter.get_tensor(output["index"])
        logits: NDArray[np.float32] = (quantised.astype(np.float32) - self._output_zero) * self._output_scale
        return logits


def _interpreter(path: Path, count: int, threads: int) -> Interpreter:
    try:
        interpreter = Interpreter(str(path), num_threads=threads)
    except ValueError:
        raise ValueError("is not a LiteRT file") from None
    (entry,), _ = _ends(interpreter)
    interpreter.resize_tensor_input(entry["index"], [count, *entry["shape"][1:]])
    interpreter.allocate_tensors()
    interpreter.invoke()  # packs the weights now, not in the first micro-batch
    return interpreter


def _ends(interpreter: Interpreter) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return interpreter.get_input_details(), interpreter.get_output_details()


def _expect(verb: str, end: dict[str, Any], dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    if end["dtype"] is not dtype or tuple(end["shape"]) != shape:
        found = f"{end['dtype'].__name__}{list(map(int, end['shape']))}"
        raise ValueError(f"{verb} {found}, the card wants {dtype.__name__}{list(shape)}")
