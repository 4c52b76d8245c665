"""What a folder's run has done so far: JSON lines that are only ever added, read again by the next run.

{"batch": id, "url": …}                                         opened; the uploads below went there
{"uploaded": custom_id, "job_id": …, "size": …, "mtime_ns": …}  job_id null: the server refused it
{"done": custom_id, "file": …, "sha256": …, "classes": {…}}     its mask is written there, with this digest
{"failed": custom_id, "code": …}
{"retried": custom_id}                                          the batch was asked to run it once more
{"closed": batch id}
"""

import json
import os
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from segue_client.folder.files import NO_LINK, NO_WAIT

NAME = ".segue-journal.jsonl"
OPEN = os.O_RDWR | os.O_CREAT | os.O_APPEND | NO_LINK | NO_WAIT


@dataclass(frozen=True)
class Entry:
    """The last that is known of one photo; `masks`: file → digest of what was written; `failure` is a code."""

    batch: str
    job_id: str | None
    size: int
    mtime_ns: int
    masks: dict[str, str] = field(default_factory=dict)
    classes: dict[str, float] = field(default_factory=dict)
    failure: str | None = None


class Journal:
    def __init__(self, path: Path) -> None:
        """Raises OSError, also where the name is a link or no file."""
        self.entries: dict[str, Entry] = {}
        self.batches: dict[str, bool] = {}  # id → whether it is closed, in the order of opening
        self.written: dict[str, str] = {}  # file → digest of what was last written there, for any photo
        descriptor = os.open(path, OPEN, 0o666)
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            self.close()
            raise OSError(0, "not a regular file", str(path))
        content = self._file.readall() or b""
        whole = content[: content.rfind(b"\n") + 1]
        for line in whole.splitlines():
            self._apply(_parsed(line))
        self._file.truncate(len(whole))  # a line that a killed run only began

    def close(self) -> None:
        self._file.close()

    def add(self, **line: Any) -> None:
        """In one write, so that a kill tears at most the last line."""
        self._file.write(json.dumps(line).encode() + b"\n")
        self._apply(line)

    def _apply(self, line: Any) -> None:
        match line:
            case {"batch": str(batch_id)}:
                self.batches[batch_id] = False
            case {"closed": str(batch_id)}:
                self.batches[batch_id] = True
            case {"uploaded": str(custom_id), "job_id": job_id, "size": size, "mtime_ns": mtime_ns} if self.batches:
                self.entries[custom_id] = Entry(list(self.batches)[-1], job_id, size, mtime_ns)
            case {"done": str(custom_id), "file": str(file), "sha256": str(digest), "classes": dict(classes)}:
                self.written[file] = digest
                if entry := self.entries.get(custom_id):
                    masks = entry.masks | {file: digest}
                    self.entries[custom_id] = replace(entry, masks=masks, classes=classes, failure=None)
            case {"failed": str(custom_id), "code": code} if custom_id in self.entries:
                self.entries[custom_id] = replace(self.entries[custom_id], failure=code)
            case {"retried": str(custom_id)} if custom_id in self.entries:
                self.entries[custom_id] = replace(self.entries[custom_id], failure=None)


def _parsed(line: bytes) -> Any:
    """None for what a full disk has cut off in the middle."""
    try:
        return json.loads(line)
    except ValueError:
        return None
