"""The images of one append request: check each, bind it to its custom_id, and store it."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from werkzeug.datastructures import FileStorage

from storage import keys
from storage.batch import BatchSpec
from storage.connection import Storage
from storage.job import Spec
from storage.problems import Problem, Unavailable
from storage.queue.binding import Binding
from web.access.party import party_name
from web.filenames import checked_custom_id, sent_name
from web.origin import Origin
from web.services import upload_turns
from web.threads import each
from web.uploads import describe

UPLOADERS = 4


@dataclass(frozen=True)
class Item:
    """`spec`: the stored image's spec, or None if this request stored nothing.

    `document`: the item as the response lists it.
    """

    spec: Spec | None
    document: dict[str, Any]


def store_items(
    storage: Storage, batch: BatchSpec, origin: Origin, files: Sequence[FileStorage], path: str
) -> list[Item]:
    """Store `files`, which came with one request; return the items in the same order.

    A refused image does not affect the others. `path`: the `instance` of its problem.
    """

    party = party_name()

    def store(numbered: tuple[int, FileStorage]) -> Item:
        place, file = numbered
        with upload_turns().turn(party, size(file)):
            return _store(storage, batch, place, file, origin=origin, path=path)

    return each(store, enumerate(files), UPLOADERS)


def only_repeats(storage: Storage, batch_id: str, files: Sequence[FileStorage]) -> bool:
    """Return whether the batch has an image of each file's name: then the append only repeats earlier ones."""
    return all(storage.jobs.get_many([keys.batch_job_id(batch_id, sent_name(file)) for file in files]))


def size(file: FileStorage) -> int:
    """Return the file's bytes. It must be at its beginning, and is afterwards."""
    end = file.stream.seek(0, os.SEEK_END)
    file.stream.seek(0)
    return end


def _store(storage: Storage, batch: BatchSpec, place: int, file: FileStorage, *, origin: Origin, path: str) -> Item:
    custom_id = sent_name(file)
    try:
        content = file.stream.read()
        spec = replace(_spec(storage, batch, checked_custom_id(custom_id), content, place), **asdict(origin))
        binding = _bind(storage, spec)
    except Problem as problem:
        error = problem.to_dict(path)
        return Item(None, {"custom_id": custom_id, "job_id": None, "outcome": "refused", "error": error})
    finally:
        file.close()
    # If the binding is repeated, store the image again: the request that created the binding may have
    # died before it stored anything.
    stored = binding is not Binding.KNOWN
    if stored:
        storage.objects.put_upload(spec, content)
    outcome = "accepted" if binding is Binding.NEW else "known"
    return Item(
        spec if stored else None, {"custom_id": custom_id, "job_id": spec.id, "outcome": outcome, "error": None}
    )


def _spec(storage: Storage, batch: BatchSpec, custom_id: str, content: bytes, place: int) -> Spec:
    spec = describe(content, storage.settings)
    return replace(
        spec,
        id=keys.batch_job_id(batch.id, custom_id),
        tenant=batch.tenant,
        lane=batch.lane,
        model=batch.model,
        created_ms=spec.created_ms + place,  # keeps the order of the request in the queue
        deadline_ms=spec.created_ms + batch.deadline_s * 1000,
        batch_id=batch.id,
        custom_id=custom_id,
        tags=batch.tags,
    )


def _bind(storage: Storage, spec: Spec) -> Binding:
    """Bind the custom_id to this image. Raises Problem if the custom_id belongs to another image."""
    binding = storage.jobs.bind(spec)
    if binding is Binding.OTHER:
        name = json.dumps(spec.custom_id, ensure_ascii=False)
        raise Problem("custom_id_reused", f"The batch has another image named {name}: nothing was overwritten.")
    if binding is Binding.RECOVERING:
        raise Unavailable("Redis lost data; batches are being rebuilt")
    return binding
