"""Text that is safe to print on a terminal."""

import sys
import time
import unicodedata
from collections.abc import Callable

PLAIN_EVERY_S = 10
# Control characters, lone surrogates, line and paragraph separators.
UNSAFE = ("Cc", "Cs", "Zl", "Zp")
BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    """Replace each character that would control the terminal, break the line or reorder the text."""
    return "".join(
        "?" if unicodedata.category(letter) in UNSAFE or letter in BIDIRECTIONAL else letter for letter in text
    )


def throttled() -> Callable[[str], None]:
    """A function that prints a line to stderr, at most once per PLAIN_EVERY_S."""
    printed_at = time.monotonic()

    def show(line: str) -> None:
        nonlocal printed_at
        if time.monotonic() - printed_at >= PLAIN_EVERY_S:
            printed_at = time.monotonic()
            print(printable(line), file=sys.stderr, flush=True)

    return show
