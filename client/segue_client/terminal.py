"""Text for a terminal."""

import sys
import time
from collections.abc import Callable

PLAIN_EVERY_S = 10


def printable(text: str) -> str:
    """A file's name may hold what would steer the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def now_and_then() -> Callable[[str], None]:
    """What is said goes to stderr, but not more often than every PLAIN_EVERY_S."""
    said = time.monotonic()

    def say(line: str) -> None:
        nonlocal said
        if time.monotonic() - said >= PLAIN_EVERY_S:
            said = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    return say
