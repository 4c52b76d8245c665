"""The registry: model versions and aliases in the object store.

    {name}/{version}/…      the card and the files it lists; once published, a version never changes
    {name}/{version}/inputs.json   the version's profile, which may be added later (storage/inputs/profile.py)
    aliases.json            alias → the versions it has pointed at, the current one first; without those that were
                            rolled back, which the entry of the version that came back names

This module treats a card as a plain document. The package model/ interprets the files.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from storage import model_signatures
from storage.model_documents import Pointed, PublishedCard, card_of
from storage.model_files import ModelError, checked, read_checked, sha256, write_whole
from storage.objects import MODELS, MinioObjects
from storage.problems import Problem

CARD, SIGNATURE, ALIASES, INPUTS = "card.json", "card.sig", "aliases.json", "inputs.json"
FRESH_S = 1.0
MOST_REMEMBERED = 20
LOCK, LOCKED_S = "aliases", 10.0
# Used in object keys and, on a worker, in paths.
VERSION = r"[a-z0-9][a-z0-9_-]{0,63}/[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
_VERSION = re.compile(VERSION)

Alone = Callable[[str, float], AbstractContextManager[bool]]


class Alias(StrEnum):
    STABLE = "stable"
    CANARY = "canary"


class ModelGone(ModelError):
    """The registry does not have the version."""


class AliasMoved(ModelError):
    """Another process has pointed the alias at another version."""


class Models:
    """Every method raises Unavailable if the object store does not answer."""

    def __init__(self, objects: MinioObjects, alone: Alone, public_key: str = "") -> None:
        """`public_key`: of the operator who signs versions; "" accepts unsigned versions too."""
        self._objects, self._alone = objects, alone
        self._key = model_signatures.public_key(public_key) if public_key else None
        self._known: dict[str, str] = {}
        self._read_at = -FRESH_S

    def aliases(self, fresh: bool = False) -> dict[str, str]:
        """Alias → version, cached for up to a second unless `fresh`."""
        if fresh or not self._known or time.monotonic() - self._read_at > FRESH_S:
            self._known = {alias: past[0]["version"] for alias, past in self.history().items()}
            self._read_at = time.monotonic()
        return self._known

    def history(self) -> dict[str, list[Pointed]]:
        """Alias → the versions it has pointed at, the current one first."""
        content = self._objects.get(MODELS, ALIASES)
        found: dict[str, list[Pointed]] = json.loads(content) if content else {}
        return found

    def has_been_stable(self, version: str) -> bool:
        """Whether the version is stable, or was so among the last `MOST_REMEMBERED`, rolled back or not."""
        past = self.history().get(Alias.STABLE, [])
        return any(version in (entry["version"], *_rolled_back(entry)) for entry in past)

    def versions(self) -> list[str]:
        listed = (entry.key.rpartition("/") for entry in self._objects.listing(MODELS, ""))
        return sorted(version for version, _, name in listed if name == CARD)

    def published_ms(self, version: str) -> int:
        """When the card was last stored, ms UTC; 0 for an unknown version."""
        return max((entry.modified_ms for entry in self._objects.listing(MODELS, f"{version}/{CARD}")), default=0)

    def card(self, version: str) -> PublishedCard | None:
        content = self._objects.get(MODELS, f"{version}/{CARD}") if _VERSION.fullmatch(version) else None
        return json.loads(content) if content else None

    def check(self, requested: str) -> None:
        """Raises Problem `unknown_model` if `requested` is neither an alias nor a version."""
        if requested == Alias.STABLE:  # the common case costs no lookup; until a version exists, its jobs wait
            return
        known = requested in self.aliases() or requested in self.aliases(fresh=True) or self.card(requested)
        if not known:
            raise Problem("unknown_model", "model: an alias or a version that GET /v1/models lists.")

    def publish(self, folder: Path, private_key: Path | None = None) -> str:
        """Store the version in `folder`, with its profile unless it has one, and return its "name/version".

        It becomes `stable` if no alias exists yet. `private_key`: a file with the key to sign with.
        Raises ModelError if a file does not match the card, or if the version was published with
        other content. Safe to repeat.
        """
        card = (folder / CARD).read_bytes()
        fields = json.loads(card)
        version = f"{fields['name']}/{fields['version']}"
        if not _VERSION.fullmatch(version):
            raise ModelError(f"{version} is not a valid name/version")
        if (self._objects.get(MODELS, f"{version}/{CARD}") or card) != card:
            raise ModelError(f"{version} is already published with other content, and a version never changes")
        contents = {name: read_checked(folder, name, version, digest) for name, digest in fields["files"].items()}
        if private_key:
            contents[SIGNATURE] = model_signatures.sign(card, private_key)
        if (folder / INPUTS).is_file() and self.profile(version) is None:  # keep one that was put there since
            contents[INPUTS] = (folder / INPUTS).read_bytes()
        for name, content in {**contents, CARD: card}.items():  # the card last: once it exists, so do the files
            self._objects.put(MODELS, f"{version}/{name}", content, "application/octet-stream")
        if not self.history():
            self.point(Alias.STABLE, version)
        return version

    def profile(self, version: str) -> bytes | None:
        """The file of the version's profile, if it has one."""
        return self._objects.get(MODELS, f"{version}/{INPUTS}") if _VERSION.fullmatch(version) else None

    def put_profile(self, version: str, content: bytes) -> None:
        """Add a profile to a published version, or replace it. Raises ModelGone."""
        self._card(version)
        self._objects.put(MODELS, f"{version}/{INPUTS}", content, "application/json")

    def fetch(self, version: str, folder: Path, *wanted: str) -> None:
        """Download the version's card and those of the files `wanted` that it lists into `folder`; by default all.

        A local file with the right digest is not downloaded again. Raises ModelGone if the registry
        does not have the version, ModelError if the file is missing or altered, or a required
        signature is.
        """
        card = self._present(version)
        folder.mkdir(parents=True, exist_ok=True)
        for name in wanted or card["files"]:
            digest = card["files"].get(name)
            here = (folder / name).read_bytes() if (folder / name).is_file() else b""
            if digest and sha256(here) != digest:
                write_whole(folder / name, self._file(version, name, digest))
        write_whole(folder / CARD, json.dumps(card).encode())

    def sign(self, version: str, private_key: Path) -> None:
        """Check the files of a published version, then sign it.

        Raises ModelError, ValueError or OSError.
        """
        for name, digest in self._card(version)["files"].items():
            self._file(version, name, digest)
        signature = model_signatures.sign(self._objects.get(MODELS, f"{version}/{CARD}") or b"", private_key)
        self._objects.put(MODELS, f"{version}/{SIGNATURE}", signature, "application/octet-stream")

    def verify(self, version: str) -> None:
        """Check every file of the version, and the signature if one is required.

        Raises ModelGone for an unknown version, ModelError if anything is missing or wrong.
        """
        for name, digest in self._present(version)["files"].items():
            self._file(version, name, digest)

    def _present(self, version: str) -> PublishedCard:
        """The card, after checking its signature if one is required."""
        if self._key:
            content = self._objects.get(MODELS, f"{version}/{CARD}")
            signature = self._objects.get(MODELS, f"{version}/{SIGNATURE}")
            if content and not model_signatures.is_signed(content, signature, self._key):
                raise ModelError(f"model {version} is not signed with the key of MODEL_PUBLIC_KEY")
            if content:
                return card_of(version, content)
        return self._card(version)

    def _card(self, version: str) -> PublishedCard:
        card = self.card(version)
        if card is None:
            raise ModelGone(f"model {version} is not in the registry")
        return card

    def _file(self, version: str, name: str, digest: str) -> bytes:
        content = self._objects.get(MODELS, f"{version}/{name}")
        if content is None:
            raise ModelError(f"model {version}: {name} is missing")
        return checked(content, name, version, digest)

    def point(self, alias: Alias, version: str, *, instead_of: str | None = None) -> None:
        """Point `alias` at `version`.

        `instead_of`: the version that it must point at until then. Raises Problem `unknown_model`; AliasMoved.
        """
        if self.card(version) is None:
            raise Problem("unknown_model", "version: one that GET /v1/models lists.")

        def to_version(past: list[Pointed]) -> list[Pointed]:
            if past and past[0]["version"] == version:
                return past
            if instead_of is not None and (not past or past[0]["version"] != instead_of):
                raise AliasMoved(f"{alias} no longer points at {instead_of}")
            return [{"version": version, "since": datetime.now(UTC).isoformat(timespec="seconds")}, *past]

        self._change(alias, to_version)

    def rollback(self, alias: Alias) -> str:
        """Point `alias` at its previous version again and return that version.

        Raises Problem `nothing_to_roll_back`.
        """

        def to_previous(past: list[Pointed]) -> list[Pointed]:
            if len(past) < 2:
                raise Problem("nothing_to_roll_back", f"{alias} has never pointed at another version.")
            current, previous, *older = past
            names = [*_rolled_back(previous), *_rolled_back(current), current["version"]]
            return [{**previous, "rolled_back": " ".join(dict.fromkeys(names))}, *older]

        return self._change(alias, to_previous)[0]["version"]

    def _change(self, alias: Alias, change: Callable[[list[Pointed]], list[Pointed]]) -> list[Pointed]:
        with self._alone(LOCK, LOCKED_S) as chosen:
            if not chosen:
                raise Problem("unavailable", "Another request is changing the aliases.", 1)
            history = self.history()
            history[alias] = change(history.get(alias, []))[:MOST_REMEMBERED]
            self._objects.put(MODELS, ALIASES, json.dumps(history, indent=1).encode(), "application/json")
        return history[alias]


def _rolled_back(entry: Pointed) -> list[str]:
    return entry.get("rolled_back", "").split()
