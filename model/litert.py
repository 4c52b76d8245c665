"""The CPU engine: LiteRT (the TensorFlow Lite runtime) with int8 weights."""

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

FILE = "int8.tflite"
# A micro-batch is padded to the next of these: each has its own interpreter, planned and packed once.
BATCH_SIZES = (1, 4, 16)


class LiteRTEngine:
    """One thread: one process a core beats one process with two threads by a third and more."""

    def __init__(self, path: Path) -> None:
        self._interpreters = {size: _interpreter(path, size) for size in BATCH_SIZES}
        (output,) = self._interpreters[1].get_output_details()
        scale, zero = output["quantization"]
        self._output_scale, self._output_zero = np.float32(scale), np.float32(zero)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8[n,size,size,3] → float32[n,size,size,classes]."""
        largest = BATCH_SIZES[-1]
        chunks = [self._run(images[start : start + largest]) for start in range(0, len(images), largest)]
        return np.concatenate(chunks)

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        count = len(images)
        size = next(size for size in BATCH_SIZES if size >= count)
        interpreter = self._interpreters[size]
        (entry,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
        padded = np.zeros((size, *images.shape[1:]), np.uint8)
        padded[:count] = images
        interpreter.set_tensor(entry["index"], padded)
        interpreter.invoke()
        quantised: NDArray[np.int8] = interpreter.get_tensor(output["index"])[:count]
        logits: NDArray[np.float32] = (quantised.astype(np.float32) - self._output_zero) * self._output_scale
        return logits


def _interpreter(path: Path, size: int) -> Interpreter:
    interpreter = Interpreter(str(path), num_threads=1)
    (entry,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(entry["index"], [size, *entry["shape"][1:]])
    interpreter.allocate_tensors()
    interpreter.invoke()  # packs the weights now and not in the first micro-batch
    return interpreter
