"""`segue models`, as an operator types it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import services
from versions import publish, sign, version_folder

from model.card import sha256
from model.engines import ENGINES
from storage.connection import Storage

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def segue(own_store: Storage, tmp_path: Path) -> Run:
    settings = own_store.settings
    # The settings as `make run` leaves them; the environment has none of them.
    (tmp_path / "env").write_text(
        f"REDIS_URL={settings.redis_url}\nS3_URL={settings.s3_url}\nS3_ACCESS_KEY={settings.s3_access_key}\n"
        f"S3_SECRET_KEY={settings.s3_secret_key.get_secret_value()}\nBUCKET_PREFIX={settings.bucket_prefix}\n"
    )
    env = services.environment(VAR=tmp_path)

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        command = ["segue", "models", *map(str, arguments)]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    return run


def test_a_version_from_publish_to_rollback(segue: Run, tmp_path: Path) -> None:
    int8 = ENGINES["litert"].file
    first = version_folder(tmp_path, "8")
    second = version_folder(tmp_path, "9", files={int8: sha256(services.SHIPPED_MODEL / int8)})  # loads no TensorFlow
    assert segue("publish", first).stdout == "published pets/8\n"
    assert segue("publish", second, "--promote").stdout == "published pets/9, now stable\n"
    assert [line.split()[0::2] for line in segue("list").stdout.splitlines()] == [["pets/8"], ["pets/9", "stable"]]
    assert segue("rollback").stdout == "stable is pets/8\n"
    assert segue("promote", "pets/9", "--alias", "canary").stdout == "canary is pets/9\n"
    listed = json.loads(segue("list", "--json").stdout)
    assert {alias: past[0]["version"] for alias, past in listed["aliases"].items()} == {
        "stable": "pets/8",
        "canary": "pets/9",
    }
    assert json.loads(segue("show", "pets/9").stdout) == listed["versions"]["pets/9"]


def test_two_versions_are_compared(segue: Run, own_store: Storage, tmp_path: Path) -> None:
    scores = ({"litert": {"test": {"mean_iou": value, "photos": 9}}} for value in (0.75, 0.8))
    for version, metrics in zip(("8", "9"), scores, strict=True):
        own_store.models.publish(version_folder(tmp_path, version, metrics=metrics))
    [line] = [line for line in segue("compare", "pets/8", "pets/9").stdout.splitlines() if "mean_iou" in line]
    assert line.split() == ["litert.test.mean_iou", "0.75", "0.8", "+0.0500"]


def test_a_broken_version_is_not_published_and_the_reason_is_one_line(segue: Run, tmp_path: Path) -> None:
    (broken := version_folder(tmp_path, "8")).joinpath("int8.tflite").write_bytes(b"no model")
    sign(broken)
    done = segue("publish", broken)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("not published: model pets/8: int8.tflite")
    assert done.stderr.count("\n") == 1
    assert segue("list").stdout == ""
    done = segue("publish", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (1, ("promote", "pets/99")),
        (2, ("promote", "pets/8", "--alias", "best")),
        (1, ("rollback",)),
        (1, ("show", "pets/99")),
    ],
)
def test_a_refused_command_says_why(
    segue: Run, own_store: Storage, tmp_path: Path, code: int, arguments: tuple[str, ...]
) -> None:
    publish(own_store, tmp_path, "8")
    done = segue(*arguments)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert done.stderr
