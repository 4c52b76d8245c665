"""The classes a model tells apart."""

from dataclasses import dataclass
from typing import Any

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Label:
    """One class: its id in the mask, its name, and the sRGB colour it is drawn in."""

    id: int
    name: str
    color: Color

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.id, "name": self.name, "color": list(self.color)}

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> "Label":
        red, green, blue = entry["color"]
        return cls(int(entry["id"]), str(entry["name"]), (int(red), int(green), int(blue)))


PETS = (
    Label(0, "pet", (255, 122, 89)),
    Label(1, "background", (38, 50, 72)),
    Label(2, "border", (255, 214, 102)),
)
