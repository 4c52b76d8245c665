"""The JSON documents of the registry, as `storage/models.py` reads and writes them."""

import json
from typing import Any, NotRequired, TypedDict

from storage.model_files import ModelError
from storage.result import ClassLabel


class PublishedCard(TypedDict):
    """The card of a version, as published. `files`: name → SHA-256; `model.card.Card` describes the others."""

    name: str
    version: str
    input_size: int
    labels: list[ClassLabel]
    files: dict[str, str]
    trained_on: str
    network: NotRequired[str]
    training: NotRequired[dict[str, Any]]
    guarantee: NotRequired[dict[str, Any]]
    metrics: dict[str, Any]


class Pointed(TypedDict):
    """A version that an alias has pointed at since a time (RFC 3339).

    `rolled_back`: the versions, separated by spaces, that a rollback has replaced by this one.
    """

    version: str
    since: str
    rolled_back: NotRequired[str]


def card_of(version: str, content: bytes) -> PublishedCard:
    """Parse a signed card.

    Raises ModelError if it is another version's: the signature does not cover the path.
    """
    card: PublishedCard = json.loads(content)
    if f"{card['name']}/{card['version']}" != version:
        raise ModelError(f"model {version} has the card of {card['name']}/{card['version']}")
    return card
