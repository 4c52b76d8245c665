"""Map a corrected mask to class ids by its colours, because an editor may save it with another palette."""

import io
from collections.abc import Iterable, Sequence

from PIL import Image

from storage.photos.photo import BAND, decode_mask
from storage.problems import Problem
from storage.result import ClassLabel
from storage.settings import Settings

MOST_NAMED = 5

Colour = tuple[int, ...]  # red, green, blue, alpha
Classes = Sequence[ClassLabel]
Size = tuple[int, int]  # width, height


def corrected(content: bytes, size: Size, classes: Classes, settings: Settings) -> bytes:
    """The sent mask as a grey PNG of class ids, without the file's metadata.

    `size`: of the upright photo. Raises Problem if the mask does not fit it.
    """
    mask = decode_mask(content, settings)
    check_size(mask.size, size)
    return grey_png(class_ids(mask, classes))


def check_size(sent: Size, wanted: Size) -> None:
    """Raises Problem."""
    if sent != wanted:
        detail = "The mask has {} x {} pixels, the photo {} x {}.".format(*sent, *wanted)
        raise Problem("unprocessable_image", detail)


def served_ids(mask: bytes) -> Image.Image:
    """The class ids (mode L) of a mask as a worker stores it: a palette image whose indices they are."""
    with Image.open(io.BytesIO(mask), formats=["PNG"]) as palette:
        return Image.frombytes("L", palette.size, palette.tobytes())


def grey_png(ids: Image.Image) -> bytes:
    buffer = io.BytesIO()
    ids.save(buffer, "PNG")
    return buffer.getvalue()


def class_ids(mask: Image.Image, classes: Classes) -> Image.Image:
    """Convert a mask of mode 1, L, P, RGB or RGBA to class ids (mode L).

    Raises Problem if a pixel does not belong to a class.
    """
    if mask.mode in ("1", "L"):
        return _of_grey(mask.convert("L"), classes)
    return _of_palette(mask, classes) if mask.mode == "P" else _of_colours(mask.convert("RGBA"), classes)


def _of_grey(mask: Image.Image, classes: Classes) -> Image.Image:
    """Read grey values as class ids, or as the classes' grey colours if only those match.

    Raises Problem if neither matches, or if both do and disagree.
    """
    used = set(_used(mask))
    by_id = {entry["id"]: entry["id"] for entry in classes}
    by_colour = {red: ids[0] for (red, green, blue, _), ids in _ids(classes).items() if red == green == blue}
    fit = [table for table in (by_id, by_colour) if used <= table.keys()]
    if len(fit) == 2 and any(by_id[value] != by_colour[value] for value in used):
        raise Problem(
            "unprocessable_image",
            "The mask's grey values are both class ids and colours of other classes: send a palette or RGB PNG.",
        )
    if not fit:
        strange = ", ".join(map(str, sorted(used - by_id.keys())[:MOST_NAMED]))
        raise Problem("unprocessable_image", f"The mask has grey values that are not class ids: {strange}.")
    return mask.point([fit[0].get(value, 0) for value in range(256)])


def _of_palette(mask: Image.Image, classes: Classes) -> Image.Image:
    """Map each used palette entry by its colour; if classes share a colour, the index decides."""
    mask.apply_transparency()
    flat = mask.getpalette("RGBA") or []
    palette: list[Colour] = [tuple(flat[start : start + 4]) for start in range(0, len(flat), 4)]
    palette += [(0, 0, 0, 0)] * (256 - len(palette))
    known, table, used = _ids(classes), [0] * 256, _used(mask)
    _check(palette[index] for index in used if palette[index] not in known)
    for index in used:
        ids = known[palette[index]]
        table[index] = index if index in ids else ids[0]
    return Image.frombytes("L", mask.size, mask.tobytes()).point(table)


def _of_colours(mask: Image.Image, classes: Classes) -> Image.Image:
    import numpy as np  # here, so that a web process starts without it

    known = sorted((int.from_bytes(bytes(colour)), ids[0]) for colour, ids in _ids(classes).items())
    colours, ids = np.array([colour for colour, _ in known]), np.array([class_id for _, class_id in known], np.uint8)
    found = Image.new("L", mask.size)
    for top in range(0, mask.height, BAND):
        box = (0, top, mask.width, min(mask.height, top + BAND))
        band = np.frombuffer(mask.crop(box).tobytes(), ">u4").astype(np.int64)
        place = np.searchsorted(colours, band).clip(max=len(colours) - 1)
        _check(tuple(int(code).to_bytes(4)) for code in np.unique(band[colours[place] != band]))
        found.paste(Image.frombytes("L", (mask.width, box[3] - top), ids[place].tobytes()), box)
    return found


def _ids(classes: Classes) -> dict[Colour, list[int]]:
    found: dict[Colour, list[int]] = {}
    for entry in classes:
        found.setdefault((*entry["color"], 255), []).append(entry["id"])
    return found


def _used(mask: Image.Image) -> list[int]:
    return [value for value, count in enumerate(mask.histogram()) if count]


def _check(strange: Iterable[Colour]) -> None:
    """Raise Problem if there are any `strange` colours: those that no class has."""
    names = list(dict.fromkeys(map(_name, strange)))
    if names:
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        raise Problem(
            "unprocessable_image",
            f"The mask has colours that no class has: {', '.join(names[:MOST_NAMED])}{more}. "
            "Use the colours of the job's `result.classes`, without antialiasing or transparency.",
        )


def _name(colour: Colour) -> str:
    """Return the colour in CSS notation."""
    return f"#{bytes(colour if colour[3] < 255 else colour[:3]).hex()}"
