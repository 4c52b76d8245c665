"""The suffix of the files of each mask format."""

import os

from segue_client.documents import FORMATS

SUFFIXES = dict.fromkeys(FORMATS, ".png") | {"overlay": ".jpg", "rle": ".json", "geojson": ".geojson"}
LONGEST_SUFFIX_BYTES = 64


def suffix_problem(suffix: str) -> str:
    """Why `suffix` cannot be the end of a file name; empty if it can."""
    if any(letter in "/\\\0" or not letter.isprintable() for letter in suffix):
        return "suffix: slashes and control characters are not allowed."
    if len(os.fsencode(suffix)) > LONGEST_SUFFIX_BYTES:
        return f"suffix: at most {LONGEST_SUFFIX_BYTES} bytes."
    return ""
