"""Which engine is chosen, the messages of refusals, and that both engines match Keras."""

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pictures
import pytest
from services import SHIPPED_MODEL

from model import engines
from model.card import Card, sha256
from model.engines import ENGINES, EngineUnavailable, choose
from model.labels import PETS
from model.segmenter import Segmenter

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
Edit = Callable[[Path], None]


def installed(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in packages else None)


def gpu(monkeypatch: pytest.MonkeyPatch, device: Path, seen_by_tensorflow: bool) -> None:
    answer = subprocess.CompletedProcess([], 0 if seen_by_tensorflow else 1)
    monkeypatch.setattr(engines, "GPU_DEVICES", (device,))
    monkeypatch.setattr(engines.subprocess, "run", lambda *_, **__: answer)


@pytest.mark.parametrize(
    ("packages", "device", "seen", "taken"),
    [
        (("tensorflow", "ai_edge_litert"), "/", True, "tensorflow"),
        (("tensorflow", "ai_edge_litert"), "/", False, "litert"),  # a GPU, but a CPU build of TensorFlow
        (("tensorflow", "ai_edge_litert"), "/no such device", True, "litert"),
        (("ai_edge_litert",), "/", True, "litert"),
        (("tensorflow",), "/no such device", False, "tensorflow"),
    ],
)
def test_auto(monkeypatch: pytest.MonkeyPatch, packages: tuple[str, ...], device: str, seen: bool, taken: str) -> None:
    installed(monkeypatch, *packages)
    gpu(monkeypatch, Path(device), seen)
    assert choose("auto") == taken


def test_an_unavailable_engine_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "ai_edge_litert")
    assert choose("litert") == "litert"
    with pytest.raises(
        EngineUnavailable, match=r"^the TensorFlow engine needs the package tensorflow, which is not installed"
    ):
        choose("tensorflow")
    installed(monkeypatch)
    with pytest.raises(EngineUnavailable, match=r"^no engine is installed: install ai_edge_litert or tensorflow$"):
        choose("auto")


def test_a_missing_gpu_is_detected_without_tensorflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engines, "GPU_DEVICES", (tmp_path / "none",))
    monkeypatch.setattr(engines.subprocess, "run", lambda *_, **__: pytest.fail("it was asked"))
    assert not engines.gpu_visible()


def remove(name: str) -> Edit:
    return lambda folder: (folder / name).unlink()


def damage(name: str) -> Edit:
    def edit(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 0xFF
        (folder / name).write_bytes(content)

    return edit


def rewrite(name: str, content: bytes) -> Edit:
    """Replace a file and its digest in the card, so that only the engine can notice."""

    def edit(folder: Path) -> None:
        (folder / name).write_bytes(content)
        with_card(files={name: sha256(folder / name)})(folder)

    return edit


def with_card(**changes: Any) -> Edit:
    return lambda folder: replace(Card.load(folder), **changes).save(folder)


LITERT_REFUSALS: list[tuple[Edit, str]] = [
    (remove("int8.tflite"), " is damaged: int8.tflite"),
    (damage("int8.tflite"), " is damaged: int8.tflite"),
    (with_card(files={}), " has no file for the LiteRT engine (int8.tflite)"),
    (rewrite("int8.tflite", b"nothing"), ": int8.tflite is not a LiteRT file"),
    (with_card(labels=PETS[:2]), ": int8.tflite gives int8[1, 192, 192, 3], the card wants int8[1, 192, 192, 2]"),
    (with_card(input_size=64), ": int8.tflite takes uint8[1, 192, 192, 3], the card wants uint8[1, 64, 64, 3]"),
]


@pytest.mark.parametrize(("edit", "reason"), LITERT_REFUSALS, ids=[reason for _, reason in LITERT_REFUSALS])
def test_what_litert_refuses(tmp_path: Path, edit: Edit, reason: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(SHIPPED_MODEL, folder)
    edit(folder)
    with pytest.raises(ValueError) as refusal:
        Segmenter(folder)
    assert str(refusal.value) == f"model pets/{SHIPPED_MODEL.name}{reason}"


@pytest.mark.parametrize("content", ["", "{}", "[1]", json.dumps({"name": "pets", "labels": [{"id": "x"}]})])
def test_a_damaged_card_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "card.json").write_text(content)
    with pytest.raises(ValueError, match=r"card\.json is not a model card"):
        Segmenter(tmp_path)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The version new/1 with random weights, for TensorFlow only."""
    keras = pytest.importorskip("keras", reason="needs the `train` extra")
    from model.networks.registry import build, save_float16

    keras.utils.set_random_seed(1)
    folder = tmp_path_factory.mktemp("new")
    weights = folder / ENGINES["tensorflow"].file
    save_float16(build("lite0-thin", 3, 64), "lite0-thin", weights)
    Card("new", "1", 64, PETS, {weights.name: sha256(weights)}, "nothing", network="lite0-thin").save(folder)
    return folder


def test_tensorflow_is_keras(untrained: Path) -> None:
    from model.engines import ENGINES
    from model.networks.registry import load

    segmenter = Segmenter(untrained, engine="tensorflow")
    images = np.stack([segmenter.to_input(pictures.photo(200, 150, seed)) for seed in range(18)])
    network = load(untrained / ENGINES["tensorflow"].file, "lite0-thin", 3, 64)
    expected = network(images.astype(np.float32) / 127.5 - 1, training=False)
    for count in (1, 3, *ENGINES["tensorflow"].batch_sizes, 18):
        logits = segmenter.engine.logits(images[:count])
        assert (logits.dtype, logits.shape) == (np.float32, (count, 64, 64, 3))
        np.testing.assert_allclose(logits, expected[:count], atol=1e-4)


TENSORFLOW_REFUSALS: list[tuple[Edit, str]] = [
    (remove("float16.weights.h5"), " is damaged: float16.weights.h5"),
    (with_card(files={}), " has no file for the TensorFlow engine (float16.weights.h5)"),
    (rewrite("float16.weights.h5", b"nothing"), ": float16.weights.h5 is not a Keras weights file"),
    (
        with_card(labels=PETS[:2]),
        ": float16.weights.h5 holds weights of another network than lite0-thin with 2 classes",
    ),
    (with_card(input_size=100), ": float16.weights.h5 is for 100 x 100 pixels, which is not a multiple of 32"),
    (
        with_card(network="next"),
        ": float16.weights.h5 is of the network 'next', which this version of Segue does not know",
    ),
]


@pytest.mark.parametrize(("edit", "reason"), TENSORFLOW_REFUSALS, ids=[reason for _, reason in TENSORFLOW_REFUSALS])
def test_what_tensorflow_refuses(untrained: Path, tmp_path: Path, edit: Edit, reason: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(untrained, folder)
    edit(folder)
    with pytest.raises(ValueError) as refusal:
        Segmenter(folder, engine="tensorflow")
    assert str(refusal.value) == f"model new/1{reason}"
