"""One training run: epochs over random views, a moving average of the weights, resumable after any kill.

A run's folder holds `state.npz` (everything that a resumed run needs), `epochs.csv` (one line an epoch), and
`network.weights.h5` (the averaged weights of the best epoch by the validation photos).
"""

import csv
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from model.data import Example, squeezed
from model.evaluation.scores import Scores
from model.images import to_network
from model.networks.registry import build
from model.training.augmentation import Augmented
from model.training.batchnorm import settle
from model.training.losses import soft_segmentation_loss
from model.training.recipe import Recipe
from model.training.replay import epoch_photos
from model.training.targets import Soft

WEIGHTS, STATE, EPOCHS = "network.weights.h5", "state.npz", "epochs.csv"
SETTLE_PHOTOS = 1024
CHUNK = 32


@dataclass(frozen=True)
class Photos:
    """`train`: what the network learns from; `validation`: photos that only choose the best epoch.

    `classes`: how many; `corrections`: the training photos that a recipe may show more often.
    """

    train: list[Example]
    validation: list[Example]
    classes: int
    corrections: list[Example] = field(default_factory=list)


class Watcher:
    """Is called as a run progresses. What a method raises ends the run, which can be resumed after its last epoch."""

    def step(self) -> None:
        """Called after every batch."""

    def epoch(self, done: dict[str, float], total: int) -> None:
        """Called when the state of an epoch is in the run's folder. `done`: its figures; `total`: all epochs."""


class Steps(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, watcher: Watcher) -> None:
        super().__init__()
        self._watcher = watcher

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002 - Keras' names
        self._watcher.step()


class Average(keras.callbacks.Callback):  # type: ignore[misc]
    """A moving average of the trained weights: `weights` has one array for each trainable variable.

    The first steps count more, as in TensorFlow's ExponentialMovingAverage, so that a short run does not keep its
    starting point. NumPy computes it: in a backend's operations, several a variable, it took as long as a third of
    a small training step.
    """

    def __init__(self, network: keras.Model, momentum: float) -> None:
        super().__init__()
        self.weights: list[NDArray[np.float32]] = [np.array(variable) for variable in network.trainable_variables]
        self.steps, self._momentum = 0, momentum

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002 - Keras' names
        self.steps += 1
        momentum = min(self._momentum, (1 + self.steps) / (10 + self.steps))
        for mean, variable in zip(self.weights, self.model.trainable_variables, strict=True):
            np.add(mean * momentum, np.asarray(variable) * (1 - momentum), out=mean)


class Run:
    """A run of `recipe` in `folder`. Starts where the state in the folder ends."""

    def __init__(self, recipe: Recipe, photos: Photos, network: keras.Model, folder: Path, soft: Soft | None) -> None:
        """`network`: the starting point, of the recipe's network and size. Raises ValueError if the folder holds
        the state of another recipe.
        """
        self._recipe, self._photos, self._folder, self._soft = recipe, photos, folder, soft
        self._network = network
        self._averaged = build(recipe.network, photos.classes, recipe.size)
        self._average = Average(network, recipe.average)
        self._steps = len(self._batches(0))
        if not self._steps:
            raise ValueError(f"{len(photos.train)} training photos are fewer than a batch of {recipe.batch_size}")
        network.compile(self._optimizer(), soft_segmentation_loss, jit_compile=_compilation())
        network.optimizer.build(network.trainable_variables)
        self._epochs: list[dict[str, float]] = []
        self._best = -1.0
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / STATE).exists():
            self._restore()

    def train(self, watcher: Watcher) -> float:
        """Train the remaining epochs. Returns the best epoch's mean IoU on the validation photos."""
        while len(self._epochs) < self._recipe.epochs:
            started, epoch = time.monotonic(), len(self._epochs) + 1
            history = self._network.fit(
                self._batches(epoch), initial_epoch=epoch - 1, epochs=epoch, verbose=0,
                callbacks=[self._average, Steps(watcher), *self._monitors()],
            )  # fmt: skip
            done: dict[str, float] = {"epoch": epoch, "loss": round(float(history.history["loss"][0]), 4)}
            if epoch % self._recipe.evaluate_every == 0 or epoch == self._recipe.epochs:
                done |= self._evaluate(epoch).figures()
            done["seconds"] = round(time.monotonic() - started)
            self._epochs.append(done)
            self._save()
            print(done, flush=True)
            watcher.epoch(done, self._recipe.epochs)
        return self._best

    def _batches(self, epoch: int, soft: bool = True) -> Augmented:
        recipe = self._recipe
        photos = epoch_photos(recipe, self._photos.train, self._photos.corrections, epoch)
        return Augmented(
            photos, self._photos.classes, recipe.size, recipe.batch_size, recipe.augmentation,
            seed=recipe.seed, epoch=epoch, soft=self._soft if soft else None,
        )  # fmt: skip

    def _monitors(self) -> list[keras.callbacks.Callback]:
        """TensorBoard's curves, where TensorFlow trains."""
        if keras.backend.backend() != "tensorflow":
            return []
        return [keras.callbacks.TensorBoard(self._folder / "tensorboard", write_graph=False, update_freq=1)]

    def _optimizer(self) -> keras.optimizers.Optimizer:
        steps = self._steps * self._recipe.epochs
        warmup = round(steps * self._recipe.warmup)
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else self._recipe.learning_rate,
            decay_steps=steps - warmup,
            warmup_target=self._recipe.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
        optimizer = keras.optimizers.AdamW(
            schedule, weight_decay=self._recipe.weight_decay, beta_2=0.99, global_clipnorm=3.0
        )
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        return optimizer

    def _evaluate(self, epoch: int) -> Scores:
        """Score the averaged weights on the validation photos, and keep them if they are the best so far."""
        averaged = self._averaged
        for variable, mean in zip(averaged.trainable_variables, self._average.weights, strict=True):
            variable.assign(mean)
        settle(averaged, self._views(epoch))
        score = score_network(averaged, self._photos.validation, self._recipe.size, self._photos.classes)
        if score.mean_iou > self._best:
            self._best = score.mean_iou
            partial = self._folder / f"partial-{WEIGHTS}"
            averaged.save_weights(partial)
            partial.replace(self._folder / WEIGHTS)
        return score

    def _views(self, epoch: int) -> Iterator[NDArray[np.float32]]:
        batches = self._batches(epoch, soft=False)
        for index in range(min(len(batches), max(1, SETTLE_PHOTOS // self._recipe.batch_size))):
            yield batches[index][0]

    def _variables(self) -> list[keras.Variable]:
        return [*self._network.variables, *self._network.optimizer.variables]

    def _save(self) -> None:
        """Replace the state in one step: a kill leaves the old or the new one."""
        arrays: dict[str, Any] = {f"v{index}": np.asarray(variable) for index, variable in enumerate(self._variables())}
        arrays |= {f"mean{index}": mean for index, mean in enumerate(self._average.weights)}
        partial = self._folder / f"partial-{STATE}"
        np.savez(partial, recipe=self._recipe.digest, epochs=json.dumps(self._epochs), steps=self._average.steps,
                 best=self._best, **arrays)  # fmt: skip
        partial.replace(self._folder / STATE)
        self._list()

    def _restore(self) -> None:
        with np.load(self._folder / STATE) as state:
            if str(state["recipe"]) != self._recipe.digest:
                raise ValueError(f"{self._folder} holds a run of another recipe: choose another folder, or remove it")
            for index, variable in enumerate(self._variables()):
                variable.assign(state[f"v{index}"])
            self._average.weights = [state[f"mean{index}"] for index in range(len(self._average.weights))]
            self._epochs, self._average.steps = json.loads(str(state["epochs"])), int(state["steps"])
            self._best = float(state["best"])
        self._list()
        print(f"resumed after epoch {len(self._epochs)}", flush=True)

    def _list(self) -> None:
        with (self._folder / EPOCHS).open("w", newline="") as file:
            writer = csv.DictWriter(file, ["epoch", "seconds", "loss", *Scores.FIGURES])
            writer.writeheader()
            writer.writerows(self._epochs)


def score_network(network: keras.Model, pairs: list[Example], size: int, classes: int) -> Scores:
    """The scores of a Keras network at its input's size."""
    total = Scores.none(classes)
    for start in range(0, len(pairs), CHUNK):
        photos, truths = zip(*squeezed(pairs[start : start + CHUNK], size), strict=True)
        logits = network(to_network(np.stack(photos)), training=False)
        total += Scores.of(zip(truths, np.asarray(logits).argmax(-1).astype(np.uint8), strict=True), classes)
    return total


def _compilation() -> Literal["auto"] | bool:
    """Keras' `jit_compile`. TensorFlow trains slower with XLA on a CPU."""
    on_cpu = keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu")
    return False if on_cpu else "auto"
