"""With the operator's public key, a worker uses only signed versions."""

from pathlib import Path

import pytest
from versions import version_folder

from storage import model_signatures
from storage.connection import Storage, connect
from storage.model_files import ModelError
from storage.objects import MODELS


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "operator.pem"


@pytest.fixture
def requiring_signatures(own_store: Storage, key: Path) -> Storage:
    """Storage that requires signatures by `key`."""
    return connect(own_store.settings.replace(model_public_key=model_signatures.make_key(key)))


def refused(storage: Storage, version: str, tmp_path: Path, match: str = "not signed") -> None:
    for act in (
        lambda: storage.models.fetch(version, tmp_path / "cache", "int8.tflite"),
        lambda: storage.models.verify(version),
    ):
        with pytest.raises(ModelError, match=match):
            act()


def test_a_signed_version_is_used_and_another_is_not(
    own_store: Storage, requiring_signatures: Storage, key: Path, tmp_path: Path
) -> None:
    own_store.models.publish(version_folder(tmp_path, "7"), key)
    own_store.models.publish(version_folder(tmp_path, "8"))
    requiring_signatures.models.fetch("pets/7", tmp_path / "cache", "int8.tflite")
    refused(requiring_signatures, "pets/8", tmp_path)
    own_store.models.fetch("pets/8", tmp_path / "other cache", "int8.tflite")


def test_a_published_version_can_be_signed(
    own_store: Storage, requiring_signatures: Storage, key: Path, tmp_path: Path
) -> None:
    own_store.models.publish(version_folder(tmp_path, "8"))
    requiring_signatures.models.sign("pets/8", key)
    requiring_signatures.models.verify("pets/8")


def test_a_changed_card_and_anothers_signature_are_refused(
    own_store: Storage, requiring_signatures: Storage, key: Path, tmp_path: Path
) -> None:
    for version in ("7", "8"):
        own_store.models.publish(version_folder(tmp_path, version), key)
    objects = own_store.objects
    card, signature = (objects.get(MODELS, f"pets/7/{name}") or b"" for name in ("card.json", "card.sig"))
    objects.put(MODELS, "pets/7/card.json", card + b" ", "application/json")
    refused(requiring_signatures, "pets/7", tmp_path)
    objects.put(MODELS, "pets/8/card.sig", signature, "application/json")
    refused(requiring_signatures, "pets/8", tmp_path)
    objects.put(MODELS, "pets/8/card.json", card, "application/json")
    refused(requiring_signatures, "pets/8", tmp_path, "has the card of pets/7")
    other = tmp_path / "other.pem"
    model_signatures.make_key(other)
    own_store.models.sign("pets/7", other)
    refused(requiring_signatures, "pets/7", tmp_path)


def test_only_its_owner_can_read_a_private_key_and_it_is_not_overwritten(key: Path) -> None:
    model_signatures.make_key(key)
    assert key.stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        model_signatures.make_key(key)


def test_an_invalid_key_file_ends_the_program(own_store: Storage) -> None:
    with pytest.raises(ValueError, match="MODEL_PUBLIC_KEY"):
        connect(own_store.settings.replace(model_public_key="nonsense"))
