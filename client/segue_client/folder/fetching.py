"""Fetches, checks and writes the mask of one finished image."""

import hashlib
from dataclasses import dataclass, replace

from segue_client.client import Client
from segue_client.documents import ChecksumError, Item, ProblemError
from segue_client.failures import UnreachableError
from segue_client.folder.files import KeptError
from segue_client.folder.state import State
from segue_client.folder.walk import Photo


@dataclass(frozen=True)
class Saved:
    """The outcome of one mask: written with this SHA-256 `digest`, `kept`, or a `failure` code.

    `kept`: not written, because it would replace a file that this command did not write. If none is
    set, the job ended without a mask.
    """

    item: Item
    photo: Photo
    digest: str = ""
    kept: bool = False
    failure: str = ""


def fetch(client: Client, state: State, found: tuple[Item, Photo]) -> Saved:
    """Fetch and write one mask.

    A job that ended without a mask does not count as a failure here.
    """
    item, photo = found
    saved = Saved(item, photo)
    if item.result is None:
        return saved
    try:
        content = client.mask(item, state.order.format)
        state.write(photo, content)
    except KeptError:
        return replace(saved, kept=True)
    except (ProblemError, ChecksumError, UnreachableError, ValueError, OSError) as error:
        return replace(saved, failure=_code(error))
    return replace(saved, digest=hashlib.sha256(content).hexdigest())


def _code(error: Exception) -> str:
    match error:
        case ProblemError():
            return error.code or "refused"
        case ChecksumError():
            return "checksum"
        case UnreachableError():
            return "unreachable"
        case OSError():
            return f"not_written: {error.strerror}"
        case _:
            return "format_not_available"
