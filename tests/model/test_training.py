"""Training: recipes, views of the photos, the loss, thinning, and runs that are killed."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import shapes
from PIL import Image
from services import ROOT, SHIPPED_MODEL

keras = pytest.importorskip("keras", reason="needs the `train` extra")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

RECIPE = """
network = "plain"
size = 32
epochs = 4
batch_size = 8
average = 0.5
evaluate_every = 2
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    shapes.write_data(folder, train=30, test=4)
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_text(RECIPE)
    return path


def test_training_needs_keras_and_no_tensorflow() -> None:
    """A GPU machine may train with another backend of Keras."""
    without = "import sys, keras; sys.modules['tensorflow'] = None; import model.train"
    subprocess.run([sys.executable, "-c", without], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("size = 100", "size: Input should be a multiple of 32"),
        ("epocs = 3", "epocs: Extra inputs are not permitted"),
        ("teacher_share = 2", "teacher_share: Input should be less than or equal to 1"),
        ("start = 'nothing'", "start.literal"),
    ],
)
def test_a_recipe_names_its_wrong_entry(tmp_path: Path, line: str, reason: str) -> None:
    from model.training.recipe import Recipe

    path = tmp_path / "recipe.toml"
    entries = [entry for entry in RECIPE.splitlines() if entry.partition("=")[0] != line.partition("=")[0]]
    path.write_text("\n".join([*entries, line]))
    with pytest.raises(ValueError, match=reason) as refusal:
        Recipe.load(path, tmp_path)
    assert "\n" not in str(refusal.value)


def test_weights_of_a_recipe_lie_in_one_folder(tmp_path: Path) -> None:
    from model.training.recipe import Recipe

    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE + 'teachers = [{ network = "lite0", size = 64, weights = "t.npz" }]')
    recipe = Recipe.load(path, tmp_path / "networks", epochs=9)
    assert recipe.teachers[0].weights == tmp_path / "networks" / "t.npz"
    assert recipe.epochs == 9
    assert recipe.to_card()["teachers"][0]["weights"] == "t.npz"


def test_photo_and_target_show_the_same_window() -> None:
    """The mask is the photo's own red channel, so after any change of geometry both must still agree."""
    from model.training.augmentation import _warped, random_window, shares
    from model.training.recipe import Augmentation

    rng = np.random.default_rng(5)
    squares = Image.fromarray(rng.integers(0, 2, (5, 7), np.uint8))
    classes = np.asarray(squares.resize((70, 50), Image.Resampling.NEAREST))
    photo = np.repeat(classes[..., None] * np.uint8(255), 3, axis=2)
    for _ in range(20):
        window = random_window(70, 50, 32, Augmentation(), rng)
        seen, target = _warped(photo, window, 32), shares(classes, window, 32, 2)
        np.testing.assert_allclose(target[..., 1], seen[..., 0] / 255, atol=0.03)
        np.testing.assert_allclose(target.sum(-1), 1, atol=0.01)


def test_a_window_of_everything_is_the_photo() -> None:
    from model.training.augmentation import _warped, random_window
    from model.training.recipe import Augmentation

    still = Augmentation(area=(1, 1), aspect=1, rotation=0)
    coarse = Image.fromarray(np.random.default_rng(1).integers(0, 256, (5, 5, 3), np.uint8))
    photo = np.asarray(coarse.resize((32, 32), Image.Resampling.BICUBIC))
    for seed in range(4):
        seen = _warped(photo, random_window(32, 32, 32, still, np.random.default_rng(seed)), 32).astype(int)
        assert min(np.abs(seen - photo).mean(), np.abs(seen[:, ::-1] - photo).mean()) < 2


def test_teachers_maps_follow_the_window() -> None:
    from model.training.augmentation import _warped, random_window
    from model.training.recipe import Augmentation
    from model.training.targets import Soft

    rng = np.random.default_rng(2)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    smooth = np.asarray(coarse.resize((120, 80), Image.Resampling.BICUBIC))
    taught = np.asarray(Image.fromarray(smooth).resize((64, 64), Image.Resampling.BOX))
    soft = Soft(taught[None], share=1.0)
    for _ in range(10):
        window = random_window(120, 80, 32, Augmentation(), rng)
        there = _warped(*soft.scaled(0, window, (80, 120)), 32)
        assert np.abs(there.astype(int) - _warped(smooth, window, 32)).mean() < 4


def test_the_loss_is_least_at_the_target() -> None:
    from model.training.losses import soft_segmentation_loss

    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)
    target = np.asarray(keras.ops.softmax(logits))
    least = float(soft_segmentation_loss(target, logits))
    for _ in range(20):
        other = logits + rng.normal(0, 0.3, logits.shape).astype(np.float32)
        assert float(soft_segmentation_loss(target, other)) > least


def test_unlabelled_pixels_have_no_loss() -> None:
    from model.training.losses import soft_segmentation_loss

    target = np.zeros((1, 2, 2, 2), np.float32)
    target[0, 0, :, 1] = 1  # the second row is unlabelled
    logits = np.zeros((1, 2, 2, 2), np.float32)
    other = logits.copy()
    other[0, 1] = [5, -5]
    assert float(soft_segmentation_loss(target, logits)) == pytest.approx(float(soft_segmentation_loss(target, other)))


def test_channels_that_repeat_others_are_thinned_without_loss() -> None:
    """Half of a block's channels are copies of the other half: without them the network computes the same."""
    from model.networks.lite import LiteUNet
    from model.networks.weights import start_from
    from model.training.thinning import thinned

    keras.utils.set_random_seed(3)
    wide = LiteUNet(0, neck=8, decoder=(8, 8, 8, 8)).build(2, 64)
    thin = LiteUNet(0, neck=8, decoder=(8, 8, 8, 8), thinned=(0, 48)).build(2, 64)
    for name in ("b1_expand", "b1_dw"):
        (kernel,) = wide.get_layer(name).get_weights()
        axis = 3 if name == "b1_expand" else 2
        half = np.take(kernel, range(48), axis=axis)
        wide.get_layer(name).set_weights([np.concatenate([half, half], axis=axis)])
    photos = np.random.default_rng(0).uniform(-1, 1, (8, 64, 64, 3)).astype(np.float32)
    assert start_from(thin, thinned(wide, thin, photos)) == []
    expected = np.asarray(wide.predict_on_batch(photos))
    assert np.abs(thin.predict_on_batch(photos) - expected).mean() < 0.02 * expected.std()


def test_thinning_fits_the_decoder_anew(pets: Path) -> None:
    """The fitted convolution comes closer to the wide network than one that merely lacks the channels."""
    from model.card import Card
    from model.data import examples, squeezed
    from model.engines import ENGINES
    from model.networks.lite import LiteUNet
    from model.networks.registry import NETWORKS, load
    from model.networks.weights import named, start_from
    from model.training.thinning import _along, thinned

    card = Card.load(SHIPPED_MODEL)
    wide = load(SHIPPED_MODEL / ENGINES["tensorflow"].file, card.network, 3, card.input_size)
    family = NETWORKS[card.network]
    assert isinstance(family, LiteUNet)
    smaller = LiteUNet(0, family.neck, (*family.decoder[:2], 16, family.decoder[3]), family.thinned)
    thin = smaller.build(3, card.input_size)
    photos = np.stack([photo for photo, _ in squeezed(examples(pets, "test")[::40], card.input_size)])
    photos = photos.astype(np.float32) / 127.5 - 1
    expected = np.asarray(wide.predict_on_batch(photos))
    start_from(thin, thinned(wide, thin, photos))
    fitted = np.abs(thin.predict_on_batch(photos) - expected).mean()
    cut, kept = named(wide), list(range(16))
    for name in ("d4", "d4_bn"):
        cut[name] = [_along(array, kept) for array in cut[name]]
    (kernel,) = cut["d2"]
    cut["d2"] = [np.concatenate([kernel[:, :, :16], kernel[:, :, family.decoder[2] :]], axis=2)]
    start_from(thin, cut)
    assert fitted < np.abs(thin.predict_on_batch(photos) - expected).mean() / 2


def test_the_same_picture_may_not_train_and_judge(data: Path, tmp_path: Path) -> None:
    """Found at another size and quality, and mirrored."""
    from model.data import duplicates, examples

    train, gate = examples(data, "train"), examples(data, "gate")
    assert not {pair.name for pair in train} & {pair.name for pair in gate}
    assert duplicates(train, gate) == []
    photo = Image.open(train[2].photo).transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((90, 110))
    photo.save(gate[1].photo.with_name("twin.jpg"), quality=40)
    twin = type(gate[1])("twin", gate[1].photo.with_name("twin.jpg"), gate[1].mask, 0)
    assert duplicates(train, [*gate, twin]) == [(train[2].name, "twin")]


def command(recipe: Path, data: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "model.train", str(recipe), "--data", str(data), "--out", str(out)]


ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


def trained(line: list[str]) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(line, cwd=ROOT, env=ENVIRONMENT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def epochs(run: Path) -> list[dict[str, str]]:
    path = run / "epochs.csv"
    return list(csv.DictReader(path.open())) if path.exists() else []


def test_a_killed_run_continues_where_it_was(recipe: Path, data: Path, tmp_path: Path) -> None:
    """Killed twice, it lists every epoch once and ends with the losses of a run that was left alone."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    trained(command(recipe, data, whole))
    for count in (1, 3):
        process = subprocess.Popen(
            command(recipe, data, killed),
            cwd=ROOT,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while len(epochs(killed)) < count:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert "resumed after epoch" in trained(command(recipe, data, killed)).stdout
    rows, expected = epochs(killed), epochs(whole)
    assert [row["epoch"] for row in rows] == [str(number) for number in range(1, 5)]
    assert [float(row["loss"]) for row in rows] == pytest.approx([float(row["loss"]) for row in expected], rel=0.02)
    assert (killed / "curves.png").stat().st_size > 1000


def test_a_folder_holds_one_run(recipe: Path, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained([*command(recipe, data, run), "--set", "epochs=1"])
    other = subprocess.run(
        [*command(recipe, data, run), "--set", "epochs=2"], cwd=ROOT, env=ENVIRONMENT, check=False, capture_output=True,
        text=True,
    )  # fmt: skip
    assert other.returncode == 2
    assert "holds a run of another recipe" in other.stderr


def test_training_imports_no_backend() -> None:
    """Network, loss and augmentation are plain Keras 3, so that other backends can train. Export needs TensorFlow."""
    plain = [ROOT / "model" / "networks" / f"{name}.py" for name in ("lite", "layers", "weights", "imagenet")]
    for path in [*plain, ROOT / "model" / "train.py", *(ROOT / "model" / "training").glob("*.py")]:
        assert not re.search(r"^\s*(import|from) (tensorflow|jax|torch)", path.read_text(), re.MULTILINE), path
