"""`segue drift`, as an operator types it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import shapes
from click.testing import Result
from services import SHIPPED_MODEL
from typer.testing import CliRunner
from versions import sign, version_folder

from cli.app import app
from model.data import examples
from model.inputs import INPUTS
from storage.connection import Storage
from storage.inputs.counts import add
from storage.inputs.profile import Profile
from storage.records.audit import AuditFilter
from storage.records.audit_event import OPERATOR, Action

Segue = Callable[..., Result]


@pytest.fixture
def segue(own_store: Storage, monkeypatch: pytest.MonkeyPatch) -> Segue:
    settings = own_store.settings
    monkeypatch.setattr("telemetry.logs.configure_command", lambda _: None)  # it would silence later tests
    for name, value in {
        "REDIS_URL": settings.redis_url,
        "S3_URL": settings.s3_url,
        "S3_ACCESS_KEY": settings.s3_access_key,
        "S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
        "BUCKET_PREFIX": settings.bucket_prefix,
        "SQL_URL": settings.sql_url.get_secret_value(),
    }.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(app, ["drift", *map(str, arguments)])


def test_a_drift_is_shown_as_a_table(own_store: Storage, segue: Segue) -> None:
    own_store.models.publish(SHIPPED_MODEL)
    profile = Profile.from_json((SHIPPED_MODEL / INPUTS).read_bytes())
    for _ in range(40):
        add(own_store.jobs.client, "pets/3", profile, {"brightness": 0, "format": 0})
    title, _, *rows = segue("show").stdout.splitlines()
    assert title.startswith("pets/3, last 24 h: 40 photos")
    cells = {row.split()[0]: row.split()[1:] for row in rows}
    assert cells.keys() == profile.features.keys()
    index, evidence, before, now, bars, verdict = cells["brightness"]
    assert float(index) > 1
    assert evidence.startswith("10^")
    assert (before, now, bars, verdict) == ("0.449", "0.303", "█▁▁▁▁▁▁▁▁▁", "drifts")
    assert cells["format"] == ["-", "-", "-", "JPEG", "█▁▁▁▁▁▁▁▁"]
    assert cells["warmth"][-1] == "▁▁▁▁▁▁▁▁▁▁"
    assert json.loads(segue("show", "pets/3", "--hours", 1, "--json").stdout)["drifting"] == ["brightness"]


def test_a_profile_is_added_to_a_published_version(own_store: Storage, segue: Segue, tmp_path: Path) -> None:
    """The shapes stand for the training photos."""
    shapes.write_data(tmp_path / "data", train=12, test=2)
    names = [pair.name for pair in examples(tmp_path / "data", "train")]
    folder = version_folder(tmp_path, "9")
    (folder / INPUTS).unlink()
    (folder / "data.json").write_text(json.dumps({"photos": [{"name": name} for name in names]}))
    sign(folder)
    own_store.models.publish(folder)
    missing = segue("show", "pets/9")
    assert (missing.exit_code, missing.stderr) == (1, "pets/9 has no profile: see `segue drift profile --help`\n")
    done = segue("profile", "pets/9", "--data", tmp_path / "data", "--originals")
    assert done.stdout == f"pets/9 has a profile of {len(names)} photos\n", done.output
    made = Profile.from_json(own_store.models.profile("pets/9") or b"")
    assert made.photos == sum(made.features["format"].counts) == len(names)
    assert segue("show", "pets/9").exit_code == 0
    [event] = [one.event for one in own_store.audit.newest(AuditFilter(None, OPERATOR, None, 0), 9)]
    assert (event.action, event.target, event.detail) == (Action.MODEL_PUBLISHED, "pets/9", "profile")


@pytest.mark.parametrize(("version", "reason"), [("pets/9", "not in the registry"), ("pets/3", "train.txt")])
def test_a_profile_that_cannot_be_made(
    own_store: Storage, segue: Segue, tmp_path: Path, version: str, reason: str
) -> None:
    own_store.models.publish(SHIPPED_MODEL)
    before = own_store.models.profile(version)
    done = segue("profile", version, "--data", tmp_path)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("cannot make the profile: ")
    assert reason in done.stderr
    assert own_store.models.profile(version) == before


def test_without_a_stable_version(own_store: Storage, segue: Segue) -> None:
    done = segue("show")
    assert (done.exit_code, done.stderr) == (1, "stable points at no version\n")


def test_publishing_again_adds_the_profile_of_the_folder(own_store: Storage, tmp_path: Path) -> None:
    """So `segue setup` adds it to a shipped version that an older program has published."""
    folder = version_folder(tmp_path, "9")
    content = (folder / INPUTS).read_bytes()
    (folder / INPUTS).unlink()
    own_store.models.publish(folder)
    assert own_store.models.profile("pets/9") is None
    (folder / INPUTS).write_bytes(content)
    own_store.models.publish(folder)
    assert own_store.models.profile("pets/9") == content
    own_store.models.put_profile("pets/9", b"another")
    own_store.models.publish(folder)
    assert own_store.models.profile("pets/9") == b"another", "an operator has replaced it"
