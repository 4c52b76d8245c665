"""The classes of a model, as JSON in its card and in the folder of its training photos."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

Color = tuple[int, int, int]

BACKGROUND = "background"  # a class of this name is what the other classes are not


class LabelDict(TypedDict):
    """A label in JSON."""

    id: int
    name: str
    color: list[int]


@dataclass(frozen=True)
class Label:
    """One class: its id in the mask, its name, and the sRGB colour it is drawn in."""

    id: int
    name: str
    color: Color

    def to_dict(self) -> LabelDict:
        return {"id": self.id, "name": self.name, "color": list(self.color)}

    @classmethod
    def from_dict(cls, entry: LabelDict) -> "Label":
        red, green, blue = entry["color"]
        return cls(int(entry["id"]), str(entry["name"]), (int(red), int(green), int(blue)))


PETS = (
    Label(0, "pet", (255, 122, 89)),
    Label(1, "background", (38, 50, 72)),
    Label(2, "border", (255, 214, 102)),
)


def load_labels(path: Path) -> tuple[Label, ...]:
    """A JSON list of {"id", "name", "color": [r, g, b]}. Raises ValueError if the ids are not 0, 1, 2, ..."""
    labels = tuple(Label.from_dict(entry) for entry in json.loads(path.read_text()))
    if len(labels) < 2 or [label.id for label in labels] != list(range(len(labels))):
        raise ValueError(f"{path}: needs two or more labels, with the ids 0, 1, 2, ... in this order")
    return labels


def save_labels(path: Path, labels: tuple[Label, ...]) -> None:
    path.write_text(json.dumps([label.to_dict() for label in labels], indent=1) + "\n")
