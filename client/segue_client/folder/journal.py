"""What a folder's run has done so far: JSON lines that are only ever added, read again by the next run.

{"batch": id, "url": …}                                         opened; the uploads below went there
{"uploaded": custom_id, "job_id": …, "size": …, "mtime_ns": …}  job_id null: the server refused it
{"done": custom_id, "sha256": …, "classes": {name: fraction}}   its mask is written
{"failed": custom_id, "code": …}
{"retried": custom_id}                                          the batch was asked to run it once more
{"closed": batch id}
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

NAME = ".segue-journal.jsonl"


@dataclass(frozen=True)
class Entry:
    """The last that is known of one photo; `classes` when its mask is written, `failure` is a code."""

    batch: str
    job_id: str | None
    size: int
    mtime_ns: int
    classes: dict[str, float] | None = None
    failure: str | None = None


class Journal:
    def __init__(self, path: Path) -> None:
        self.entries: dict[str, Entry] = {}
        self.batches: dict[str, bool] = {}  # id → whether it is closed, in the order of opening
        whole = _whole_lines(path)
        for line in whole.splitlines():
            self._apply(_parsed(line))
        self._file = path.open("ab", buffering=0)
        self._file.truncate(len(whole))  # a line that a killed run only began

    def close(self) -> None:
        self._file.close()

    def add(self, **line: Any) -> None:
        """In one write, so that a kill tears at most the last line."""
        self._file.write(json.dumps(line).encode() + b"\n")
        self._apply(line)

    def _apply(self, line: Any) -> None:
        match line:
            case {"batch": batch_id}:
                self.batches[batch_id] = False
            case {"closed": batch_id}:
                self.batches[batch_id] = True
            case {"uploaded": custom_id, "job_id": job_id, "size": size, "mtime_ns": mtime_ns} if self.batches:
                self.entries[custom_id] = Entry(list(self.batches)[-1], job_id, size, mtime_ns)
            case {"done": custom_id, "classes": classes} if custom_id in self.entries:
                self.entries[custom_id] = replace(self.entries[custom_id], classes=classes, failure=None)
            case {"failed": custom_id, "code": code} if custom_id in self.entries:
                self.entries[custom_id] = replace(self.entries[custom_id], failure=code)
            case {"retried": custom_id} if custom_id in self.entries:
                self.entries[custom_id] = replace(self.entries[custom_id], failure=None)


def _parsed(line: bytes) -> Any:
    """None for what a full disk has cut off in the middle."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def _whole_lines(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b""
    return content[: content.rfind(b"\n") + 1]
