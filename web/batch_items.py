"""The images of one append: each is checked, bound to its custom_id and stored."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from werkzeug.datastructures import FileStorage

from storage import keys
from storage.batch import BatchSpec
from storage.connection import Storage
from storage.job import Spec
from storage.problems import Problem, Unavailable
from storage.queue.binding import Binding
from web.filenames import checked_custom_id, sent_name
from web.uploads import describe

UPLOADERS = 4


@dataclass(frozen=True)
class Item:
    """`spec`: of an image that this request stored, None where it stored nothing. `document`: the item's answer."""

    spec: Spec | None
    document: dict[str, Any]


def store_items(storage: Storage, batch: BatchSpec, party: str, files: Sequence[FileStorage], path: str) -> list[Item]:
    """In the order of `files`, all of one `party`. A refused image refuses none of the others; its problem's instance
    is `path`.
    """
    with ThreadPoolExecutor(UPLOADERS) as pool:
        sent = enumerate(files)
        return list(pool.map(lambda one: _store(storage, batch, *one, party=party, path=path), sent))


def _store(storage: Storage, batch: BatchSpec, place: int, file: FileStorage, *, party: str, path: str) -> Item:
    custom_id = sent_name(file)
    try:
        content = file.stream.read()
        spec = replace(_spec(storage, batch, checked_custom_id(custom_id), content, place), party=party)
        binding = _bind(storage, spec)
    except Problem as problem:
        error = problem.to_dict(path)
        return Item(None, {"custom_id": custom_id, "job_id": None, "outcome": "refused", "error": error})
    finally:
        file.close()
    # A repeated image is stored again: the request that bound the name may have died before it stored anything.
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
        created_ms=spec.created_ms + place,  # so that they stand in line as they were sent
        deadline_ms=spec.created_ms + batch.deadline_s * 1000,
        batch_id=batch.id,
        custom_id=custom_id,
    )


def _bind(storage: Storage, spec: Spec) -> Binding:
    """Raises Problem for a name that belongs to another image."""
    binding = storage.jobs.bind(spec)
    if binding is Binding.OTHER:
        name = json.dumps(spec.custom_id, ensure_ascii=False)
        raise Problem("custom_id_reused", f"The batch has another image named {name}: nothing was overwritten.")
    if binding is Binding.RECOVERING:
        raise Unavailable("Redis lost data; batches are being rebuilt")
    return binding
