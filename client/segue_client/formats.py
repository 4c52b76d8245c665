"""The API's formats of a mask, each with the suffix of its files."""

import os

from segue_client.documents import FORMATS

SUFFIXES = dict.fromkeys(FORMATS, ".png") | {"overlay": ".jpg", "rle": ".json", "geojson": ".geojson"}
LONGEST_SUFFIX_BYTES = 64


def suffix_problem(suffix: str) -> str:
    """Why it cannot end a file's name; empty where it can."""
    if any(letter in "/\\\0" or not letter.isprintable() for letter in suffix):
        return "suffix: no slashes, no control characters."
    if len(os.fsencode(suffix)) > LONGEST_SUFFIX_BYTES:
        return f"suffix: at most {LONGEST_SUFFIX_BYTES} bytes."
    return ""
