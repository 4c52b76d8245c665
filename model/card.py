"""The card of a model version: name, training data, metrics, and the digests of its files."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model.labels import Label

CARD = "card.json"


@dataclass(frozen=True)
class Card:
    """`input_size`: side in pixels; `files`: name → sha256 of everything the engines load.

    `network`: a name in `model.networks.NETWORKS`; cards without one are of the first network.
    `guarantee`: the thresholds of the inner and outer masks, from `model.guarantee.fit`.
    `training`: what the training command needs to make the version again; `metrics`: what `make evaluate` measured.
    """

    name: str
    version: str
    input_size: int
    labels: tuple[Label, ...]
    files: dict[str, str]
    trained_on: str
    network: str = "unet128"
    training: dict[str, Any] = field(default_factory=dict)
    guarantee: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.name}/{self.version}"

    @classmethod
    def load(cls, folder: Path) -> "Card":
        """Raises FileNotFoundError, or ValueError if the file is not a card."""
        text = (folder / CARD).read_text()
        try:
            fields = json.loads(text)
            return cls(**{**fields, "labels": tuple(Label.from_dict(entry) for entry in fields["labels"])})
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{folder / CARD} is not a model card: {error!r}") from error

    def save(self, folder: Path) -> None:
        fields = {**asdict(self), "labels": [label.to_dict() for label in self.labels]}
        (folder / CARD).write_text(json.dumps(fields, indent=2) + "\n")

    def damaged(self, folder: Path) -> list[str]:
        """Names of the files that are missing or whose sha256 differs."""
        return [
            name
            for name, digest in self.files.items()
            if not (folder / name).is_file() or sha256(folder / name) != digest
        ]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
