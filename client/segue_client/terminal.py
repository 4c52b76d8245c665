"""Text for a terminal."""

import sys
import time
import unicodedata
from collections.abc import Callable

PLAIN_EVERY_S = 10
# Control characters, lone surrogates, line and paragraph separators.
UNSAFE = ("Cc", "Cs", "Zl", "Zp")
BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    """In one line, without what would steer the terminal or turn the text round."""
    return "".join(
        "?" if unicodedata.category(letter) in UNSAFE or letter in BIDIRECTIONAL else letter for letter in text
    )


def now_and_then() -> Callable[[str], None]:
    """What is said goes to stderr, but not more often than every PLAIN_EVERY_S."""
    said = time.monotonic()

    def say(line: str) -> None:
        nonlocal said
        if time.monotonic() - said >= PLAIN_EVERY_S:
            said = time.monotonic()
            print(printable(line), file=sys.stderr, flush=True)

    return say
