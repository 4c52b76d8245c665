"""Writing masks."""

import hashlib
import os
from pathlib import Path


def write(target: Path, content: bytes) -> None:
    """All or nothing. The temporary name is the same in every run, so that a killed one leaves nothing behind."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".segue-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}.part"
    temporary.write_bytes(content)
    temporary.replace(target)
