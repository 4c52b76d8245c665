"""The registry: model versions and aliases in the object store.

    {name}/{version}/…      the card and the files it lists; once published, a version never changes
    aliases.json            alias → the versions it has pointed at, the present one first

Knows a card as a document only: what is in the files is model/'s business.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from storage import model_signatures
from storage.model_files import ModelError, right, sha256, verified, write_whole
from storage.objects import MODELS, MinioObjects
from storage.problems import Problem

CARD, SIGNATURE, ALIASES = "card.json", "card.sig", "aliases.json"
FRESH_S = 1.0
MOST_REMEMBERED = 20
LOCK, LOCKED_S = "aliases", 10.0
# Parts of a key and, on a worker, of a path.
_VERSION = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}/[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

Alone = Callable[[str, float], AbstractContextManager[bool]]


class Alias(StrEnum):
    STABLE = "stable"
    CANARY = "canary"


class ModelGone(ModelError):
    """The registry has no such version."""


@dataclass(frozen=True)
class Offer:
    """What a worker can work on. Names are aliases or versions; a name that is not in `aliases` stands for itself."""

    aliases: Mapping[str, str] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()

    def version(self, requested: str) -> str:
        return self.aliases.get(requested, requested)

    def names(self, version: str) -> set[str]:
        """The version and the aliases that stand for it."""
        return {version, *(alias for alias, target in self.aliases.items() if target == version)}

    def to_json(self) -> str:
        return json.dumps({"aliases": dict(self.aliases), "refused": dict.fromkeys(self.refused, True)})


EVERYTHING = Offer()


@dataclass(frozen=True)
class EnginesReport:
    """What a worker has: versions loaded, versions refused with the reason."""

    loaded: list[str]
    refused: dict[str, str]


class Models:
    """Every method raises Unavailable when the object store does not answer."""

    def __init__(self, objects: MinioObjects, alone: Alone, public_key: str = "") -> None:
        """`public_key`: of the operator who signs versions; without one every version is used."""
        self._objects, self._alone = objects, alone
        self._key = model_signatures.public_key(public_key) if public_key else None
        self._known: dict[str, str] = {}
        self._read_at = -FRESH_S

    def aliases(self, fresh: bool = False) -> dict[str, str]:
        """Alias → version, at most a second old."""
        if fresh or not self._known or time.monotonic() - self._read_at > FRESH_S:
            self._known = {alias: past[0]["version"] for alias, past in self.history().items()}
            self._read_at = time.monotonic()
        return self._known

    def history(self) -> dict[str, list[dict[str, str]]]:
        """Alias → [{"version", "since"}, …], the present one first."""
        content = self._objects.get(MODELS, ALIASES)
        found: dict[str, list[dict[str, str]]] = json.loads(content) if content else {}
        return found

    def versions(self) -> list[str]:
        listed = (entry.key.rpartition("/") for entry in self._objects.listing(MODELS, ""))
        return sorted(version for version, _, name in listed if name == CARD)

    def published_ms(self, version: str) -> int:
        """When its files were stored last, ms UTC; 0 where it is not there."""
        return max((entry.modified_ms for entry in self._objects.listing(MODELS, f"{version}/{CARD}")), default=0)

    def card(self, version: str) -> dict[str, Any] | None:
        content = self._objects.get(MODELS, f"{version}/{CARD}") if _VERSION.fullmatch(version) else None
        return json.loads(content) if content else None

    def check(self, requested: str) -> None:
        """Raises Problem `unknown_model` where `requested` is neither an alias nor a version."""
        if requested == Alias.STABLE:  # what everybody uses needs no look; without any version its jobs wait
            return
        known = requested in self.aliases() or requested in self.aliases(fresh=True) or self.card(requested)
        if not known:
            raise Problem("unknown_model", "model: an alias or a version that GET /v1/models lists.")

    def publish(self, folder: Path, private_key: Path | None = None) -> str:
        """Store the version in `folder`; it becomes `stable` where no alias exists yet. → "name/version".

        `private_key`: a file, to sign it with.

        Raises ModelError where a file is not the card's, or the version was published with other content. Repeated,
        it writes the same files again.
        """
        card = (folder / CARD).read_bytes()
        fields = json.loads(card)
        version = f"{fields['name']}/{fields['version']}"
        if not _VERSION.fullmatch(version):
            raise ModelError(f"{version} is no name/version")
        if (self._objects.get(MODELS, f"{version}/{CARD}") or card) != card:
            raise ModelError(f"{version} is published with other content, and a version never changes")
        contents = {name: verified(folder, name, version, digest) for name, digest in fields["files"].items()}
        if private_key:
            contents[SIGNATURE] = model_signatures.sign(card, private_key)
        for name, content in {**contents, CARD: card}.items():  # the card last: whoever sees it finds the files
            self._objects.put(MODELS, f"{version}/{name}", content, "application/octet-stream")
        if not self.history():
            self.point(Alias.STABLE, version)
        return version

    def fetch(self, version: str, folder: Path, wanted: str) -> None:
        """Bring the version's card and its file `wanted`, if it has one, into `folder`, unless it is there and right.

        Raises ModelGone where the registry does not have the version, ModelError where the file is missing or altered.
        """
        card = self._present(version)
        folder.mkdir(parents=True, exist_ok=True)
        digest = card["files"].get(wanted)
        here = (folder / wanted).read_bytes() if (folder / wanted).is_file() else b""
        if digest and sha256(here) != digest:
            write_whole(folder / wanted, self._file(version, wanted, digest))
        write_whole(folder / CARD, json.dumps(card).encode())

    def sign(self, version: str, private_key: Path) -> None:
        """Sign a published version, after a look at its files. Raises ModelError, ValueError or OSError."""
        for name, digest in self._card(version)["files"].items():
            self._file(version, name, digest)
        signature = model_signatures.sign(self._objects.get(MODELS, f"{version}/{CARD}") or b"", private_key)
        self._objects.put(MODELS, f"{version}/{SIGNATURE}", signature, "application/octet-stream")

    def verify(self, version: str) -> None:
        """Raises ModelGone or ModelError where not every file is there and right, or the signature is missing."""
        for name, digest in self._present(version)["files"].items():
            self._file(version, name, digest)

    def _present(self, version: str) -> dict[str, Any]:
        """The card, signed where a signature is required."""
        if self._key:
            content = self._objects.get(MODELS, f"{version}/{CARD}")
            signature = self._objects.get(MODELS, f"{version}/{SIGNATURE}")
            if content and not model_signatures.is_signed(content, signature, self._key):
                raise ModelError(f"model {version} is not signed with the key of MODEL_PUBLIC_KEY")
            if content:
                return _card_of(version, content)
        return self._card(version)

    def _card(self, version: str) -> dict[str, Any]:
        card = self.card(version)
        if card is None:
            raise ModelGone(f"model {version} is not in the registry")
        return card

    def _file(self, version: str, name: str, digest: str) -> bytes:
        content = self._objects.get(MODELS, f"{version}/{name}")
        if content is None:
            raise ModelError(f"model {version}: {name} is missing")
        return right(content, name, version, digest)

    def point(self, alias: Alias, version: str) -> None:
        """Let `alias` mean `version` from now on. Raises Problem `unknown_model`."""
        if self.card(version) is None:
            raise Problem("unknown_model", "version: one that GET /v1/models lists.")

        def to_version(past: list[dict[str, str]]) -> list[dict[str, str]]:
            if past and past[0]["version"] == version:
                return past
            return [{"version": version, "since": datetime.now(UTC).isoformat(timespec="seconds")}, *past]

        self._change(alias, to_version)

    def rollback(self, alias: Alias) -> str:
        """Let `alias` mean again what it meant before. → that version. Raises Problem `nothing_to_roll_back`."""

        def to_previous(past: list[dict[str, str]]) -> list[dict[str, str]]:
            if len(past) < 2:
                raise Problem("nothing_to_roll_back", f"{alias} has never pointed at another version.")
            return past[1:]

        return self._change(alias, to_previous)[0]["version"]

    def _change(
        self, alias: Alias, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]
    ) -> list[dict[str, str]]:
        with self._alone(LOCK, LOCKED_S) as chosen:
            if not chosen:
                raise Problem("unavailable", "Another request is changing the aliases.", 1)
            history = self.history()
            history[alias] = change(history.get(alias, []))[:MOST_REMEMBERED]
            self._objects.put(MODELS, ALIASES, json.dumps(history, indent=1).encode(), "application/json")
        return history[alias]


def _card_of(version: str, content: bytes) -> dict[str, Any]:
    """Raises ModelError for the card of another version: it may be signed, but it lies in the wrong place."""
    card: dict[str, Any] = json.loads(content)
    if f"{card['name']}/{card['version']}" != version:
        raise ModelError(f"model {version} has the card of {card['name']}/{card['version']}")
    return card
