"""The model registry, in a real object store."""

from pathlib import Path

import pytest
from services import SHIPPED_MODEL
from versions import version_folder

from storage.connection import Storage
from storage.models import ALIASES, Alias, ModelError, ModelGone, Models
from storage.objects import MODELS
from storage.offer import Offer
from storage.problems import Problem

ENGINE_FILE = "int8.tflite"


@pytest.fixture
def storage(own_store: Storage) -> Storage:
    return own_store


@pytest.fixture
def registry(own_store: Storage) -> Models:
    return own_store.models


def test_the_first_version_is_stable_and_later_ones_wait_to_be_promoted(registry: Models, tmp_path: Path) -> None:
    first, second = (registry.publish(version_folder(tmp_path, version)) for version in ("8", "9"))
    assert registry.versions() == [first, second] == ["pets/8", "pets/9"]
    assert registry.aliases(fresh=True) == {"stable": "pets/8"}
    registry.point(Alias.STABLE, second)
    registry.point(Alias.CANARY, first)
    assert registry.aliases(fresh=True) == {"stable": "pets/9", "canary": "pets/8"}
    assert registry.rollback(Alias.STABLE) == "pets/8"
    assert registry.aliases(fresh=True)["stable"] == "pets/8"
    with pytest.raises(Problem, match="nothing_to_roll_back"):
        registry.rollback(Alias.STABLE)


def test_an_alias_can_point_only_at_an_existing_version(registry: Models) -> None:
    for version in ("pets/99", "../uploads", ""):
        with pytest.raises(Problem, match="unknown_model"):
            registry.point(Alias.STABLE, version)


def test_promoting_the_same_version_again_adds_no_rollback_step(registry: Models, tmp_path: Path) -> None:
    version = registry.publish(version_folder(tmp_path, "8"))
    registry.point(Alias.STABLE, version)
    assert [entry["version"] for entry in registry.history()["stable"]] == [version]


def test_a_version_never_changes(registry: Models, storage: Storage, tmp_path: Path) -> None:
    folder = version_folder(tmp_path, "8")
    registry.publish(folder)
    storage.objects.put(MODELS, f"pets/8/{ENGINE_FILE}", b"altered", "application/octet-stream")
    registry.publish(folder)  # publishing the same version again repairs its damaged files
    registry.fetch("pets/8", tmp_path / "cache", ENGINE_FILE)
    with pytest.raises(ModelError, match="never changes"):
        registry.publish(version_folder(tmp_path / "other", "8", trained_on="something else"))


@pytest.mark.parametrize(("damage", "reason"), [("alter", "damaged"), ("remove", "missing")])
def test_files_that_contradict_the_card_are_neither_published_nor_fetched(
    registry: Models, storage: Storage, tmp_path: Path, damage: str, reason: str
) -> None:
    whole, broken = version_folder(tmp_path, "8"), version_folder(tmp_path, "9")
    registry.publish(whole)
    if damage == "alter":
        (broken / ENGINE_FILE).write_bytes(b"other")
        storage.objects.put(MODELS, f"pets/8/{ENGINE_FILE}", b"other", "application/octet-stream")
    else:
        (broken / ENGINE_FILE).unlink()
        storage.objects.remove(MODELS, f"pets/8/{ENGINE_FILE}")
    with pytest.raises(ModelError, match=f"pets/9: {ENGINE_FILE} is {reason}"):
        registry.publish(broken)
    assert registry.versions() == ["pets/8"]
    with pytest.raises(ModelError, match=f"pets/8: {ENGINE_FILE} is {reason}"):
        registry.fetch("pets/8", tmp_path / "cache", ENGINE_FILE)


def test_a_fetched_version_is_mended_and_not_fetched_twice(registry: Models, storage: Storage, tmp_path: Path) -> None:
    registry.publish(SHIPPED_MODEL)
    [version], cache = registry.versions(), tmp_path / "cache"
    registry.fetch(version, cache, ENGINE_FILE)
    assert (cache / ENGINE_FILE).read_bytes() == (SHIPPED_MODEL / ENGINE_FILE).read_bytes()
    written = (cache / ENGINE_FILE).stat().st_mtime_ns
    registry.fetch(version, cache, ENGINE_FILE)
    assert (cache / ENGINE_FILE).stat().st_mtime_ns == written
    (cache / ENGINE_FILE).write_bytes(b"damaged on this disk")
    registry.fetch(version, cache, ENGINE_FILE)
    assert (cache / ENGINE_FILE).read_bytes() == (SHIPPED_MODEL / ENGINE_FILE).read_bytes()


def test_a_missing_version_is_reported_as_gone(registry: Models, tmp_path: Path) -> None:
    for version in ("pets/99", "no-version", "../../etc/passwd"):
        with pytest.raises(ModelGone):
            registry.fetch(version, tmp_path / "cache", ENGINE_FILE)
        with pytest.raises(Problem, match="unknown_model"):
            registry.check(version)


def test_a_new_alias_is_known_at_once(registry: Models, tmp_path: Path) -> None:
    registry.publish(version_folder(tmp_path, "8"))
    assert "canary" not in registry.aliases()
    registry.point(Alias.CANARY, "pets/8")
    registry.check("canary")
    registry.check("pets/8")


def test_only_one_writer_changes_aliases_at_a_time(registry: Models, storage: Storage, tmp_path: Path) -> None:
    registry.publish(version_folder(tmp_path, "8"))
    with storage.jobs.locks.alone("aliases", 10) as chosen:
        assert chosen
        with pytest.raises(Problem, match="unavailable"):
            registry.point(Alias.CANARY, "pets/8")
    assert storage.objects.get(MODELS, ALIASES)


def test_an_offer_resolves_aliases_and_nothing_else() -> None:
    offer = Offer({"stable": "pets/1", "canary": "pets/1"})
    assert [offer.version(name) for name in ("stable", "pets/3")] == ["pets/1", "pets/3"]
    assert offer.names("pets/1") == {"pets/1", "stable", "canary"}
