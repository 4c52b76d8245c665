"""Photos with their masks on one sheet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from model.labels import Label

TILE, GAP, TEXT = 160, 4, 16
Ids = NDArray[np.uint8]


def contact_sheet(path: Path, rows: Sequence[tuple[str, Image.Image, Ids, Ids]], labels: Sequence[Label]) -> None:
    """Write a JPEG. rows: title, photo, truth uint8[h,w], mask uint8[h,w]; truth and mask in the classes' colours."""
    columns = 2
    lines = -(-len(rows) // columns)
    sheet = Image.new("RGB", (columns * 3 * (TILE + GAP) + GAP, lines * (TILE + TEXT + GAP) + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, (title, photo, truth, mask) in enumerate(rows):
        left, top = GAP + number % columns * 3 * (TILE + GAP), GAP + number // columns * (TILE + TEXT + GAP)
        draw.text((left, top), title, "black", font)
        for place, picture in enumerate((photo, _coloured(truth, labels), _coloured(mask, labels))):
            sheet.paste(picture.convert("RGB").resize((TILE, TILE)), (left + place * (TILE + GAP), top + TEXT))
    sheet.save(path, quality=85)


def _coloured(ids: Ids, labels: Sequence[Label]) -> Image.Image:
    palette = np.full((256, 3), 128, np.uint8)  # unlabelled pixels are grey
    for label in labels:
        palette[label.id] = label.color
    return Image.fromarray(palette[ids])
