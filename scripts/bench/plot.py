"""Draws each row's CPU time per image as a stacked bar."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from figures import Row
from PIL import Image, ImageDraw, ImageFont

COLORS = {"web": "#4e79a7", "workers": "#f28e2b", "housekeeper": "#76b7b2", "redis": "#e15759", "s3": "#59a14f"}
OTHER = "#b0b0b0"  # a row without parts, such as the bare work
LEFT, BARS, LINE, EDGE = 460, 640, 26, 16


def plot(path: Path, runs: Mapping[str, Sequence[Row]]) -> None:
    """Write a PNG. `runs`: name → rows; the bars of several runs for the same row are adjacent."""
    rows = [(run, row) for run, found in runs.items() for row in found if row.figures.get("cpu_ms.all")]
    rows.sort(key=lambda pair: (pair[1].leg, pair[1].name))
    longest = max(row.figures["cpu_ms.all"] for _, row in rows)
    image = Image.new("RGB", (LEFT + BARS + 100, LINE * (len(rows) + 1) + 2 * EDGE), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    left = EDGE
    for name, color in COLORS.items():
        draw.text((left, EDGE), name, color, font)
        left += 120
    for number, (run, row) in enumerate(rows, 1):
        top = EDGE + number * LINE
        draw.text((EDGE, top), f"{run + ' ' if len(runs) > 1 else ''}{row.leg}: {row.name}", "black", font)
        right = float(LEFT)
        for color, ms in parts(row):
            draw.rectangle((right, top, right + ms / longest * BARS, top + LINE - 8), color)
            right += ms / longest * BARS
        draw.text((right + 6, top), f"{row.figures['cpu_ms.all']:.1f} ms", "black", font)
    image.save(path)


def parts(row: Row) -> list[tuple[str, float]]:
    found = [
        (color, row.figures[f"cpu_ms.{name}"]) for name, color in COLORS.items() if f"cpu_ms.{name}" in row.figures
    ]
    return found or [(OTHER, row.figures["cpu_ms.all"])]
