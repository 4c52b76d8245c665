"""File names inside an archive that every operating system can unpack without collisions."""

import re
from itertools import count
from unicodedata import normalize

LONGEST_BYTES = 200  # per path segment: file systems allow 255, and we may add an extension and a number
_UNUSABLE = re.compile(r'[<>:"|?*\\\x00-\x1f]|[ .]$')  # on Windows, which also drops a trailing dot or space
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


class ArchiveNames:
    """The names in one archive.

    Some systems treat names as equal that differ only in case or Unicode normalization; such names
    get a number. A file and a folder must differ too: the masks of `a` and `a.png/b` would be
    `a.png` and `a.png/b.png`.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._folders: dict[str, str] = {}  # as sent → as unpacked

    def of(self, custom_id: str, extension: str) -> str:
        """Return a new relative path for this custom_id. Items in one folder stay in one folder."""
        *folders, last = custom_id.split("/")
        sent = unpacked = ""
        for folder in folders:
            sent += f"{folder}/"
            if sent not in self._folders:
                self._folders[sent] = self._free(unpacked, folder, "") + "/"
            unpacked = self._folders[sent]
        return self._free(unpacked, last, f".{extension}")

    def _free(self, parent: str, name: str, suffix: str) -> str:
        portable = _portable(name)
        for number in count(1):
            path = f"{parent}{portable}{f'~{number}' if number > 1 else ''}{suffix}"
            key = normalize("NFC", normalize("NFC", path).casefold())
            if key not in self._taken:
                self._taken.add(key)
                return path
        raise AssertionError("itertools.count() ended")


def _portable(name: str) -> str:
    short = name.encode(errors="replace")[:LONGEST_BYTES].decode(errors="ignore")
    plain = _UNUSABLE.sub("_", short)
    return f"_{plain}" if _DEVICES.match(plain) else plain
