"""The journal of a folder's runs: append-only JSON lines, from which the next run resumes.

{"batch": id, "url": …}                                         opened; takes the uploads that follow
{"uploaded": custom_id, "job_id": …, "size": …, "mtime_ns": …}  job_id null: the server refused it
{"done": custom_id, "file": …, "sha256": …, "classes": {…}}     its mask was written to this file
{"failed": custom_id, "code": …}
{"retried": custom_id}                                          it was queued again in its batch
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
class PhotoState:
    """The latest state of one photo.

    `masks`: file → SHA-256 of what was written there, one per format; `failure`: a problem code.
    """

    batch: str
    job_id: str | None
    size: int
    mtime_ns: int
    masks: dict[str, str] = field(default_factory=dict)
    classes: dict[str, float] = field(default_factory=dict)
    failure: str | None = None


class Journal:
    def __init__(self, path: Path) -> None:
        """Open and read the journal.

        Raises OSError, also if the path is a link or not a regular file.
        """
        self.entries: dict[str, PhotoState] = {}
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
            self._apply(_parse(line))
        self._file.truncate(len(whole))  # drop an incomplete line of a killed run

    def close(self) -> None:
        self._file.close()

    def add(self, **line: Any) -> None:
        """Append a line, in one write, so that only the last line can be incomplete after a kill."""
        self._file.write(json.dumps(line).encode() + b"\n")
        self._apply(line)

    def _apply(self, line: Any) -> None:
        match line:
            case {"batch": str(batch_id)}:
                self.batches[batch_id] = False
            case {"closed": str(batch_id)}:
                self.batches[batch_id] = True
            case {"uploaded": str(custom_id), "job_id": job_id, "size": size, "mtime_ns": mtime_ns} if self.batches:
                self.entries[custom_id] = PhotoState(list(self.batches)[-1], job_id, size, mtime_ns)
            case {"done": str(custom_id), "file": str(file), "sha256": str(digest), "classes": dict(classes)}:
                self.written[file] = digest
                if entry := self.entries.get(custom_id):
                    masks = entry.masks | {file: digest}
                    self.entries[custom_id] = replace(entry, masks=masks, classes=classes, failure=None)
            case {"failed": str(custom_id), "code": code} if custom_id in self.entries:
                self.entries[custom_id] = replace(self.entries[custom_id], failure=code)
            case {"retried": str(custom_id)} if custom_id in self.entries:
                self.entries[custom_id] = replace(self.entries[custom_id], failure=None)


def _parse(line: bytes) -> Any:
    """None for a line that is not JSON, for example one that a full disk cut off."""
    try:
        return json.loads(line)
    except ValueError:
        return None
