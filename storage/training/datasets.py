"""Versions of data sets in the object store.

{name}/versions/{n}/manifest.json             which photos a version has, in which split; never changes
{name}/base/{digest}.jpg, .png                photos of the base, and their masks (class ids)
{name}/items/{tenant}/{job_id}/{digest}.…     photos and masks of corrections, until the job is erased
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from storage import object_keys
from storage.model_files import sha256 as sha256_of
from storage.objects import DATASETS, MinioObjects
from storage.result import ClassLabel

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_ID = re.compile(rf"({_NAME.pattern})/([1-9]\d{{0,8}})")


class DatasetError(Exception):
    """A data set cannot be built or used. The message gives the reason in one line."""


class Erased(DatasetError):
    """A photo or a mask of a data set has been erased."""


class Split(StrEnum):
    """What a photo is used for. Trainings learn from TRAIN and choose their best epoch by VALIDATION.

    GATE (photos of the base) and HELD_OUT (corrections) decide whether a candidate may serve. TEST only reports.
    """

    TRAIN = "train"
    VALIDATION = "validation"
    GATE = "gate"
    HELD_OUT = "held_out"
    TEST = "test"


JUDGES = (Split.GATE, Split.HELD_OUT, Split.TEST)


@dataclass(frozen=True)
class Item:
    """A photo and its mask in a version. `photo`, `mask`: their keys; `…_sha256`: of their bytes.

    `thumbnail`: of a photo of the base, 16 x 16 grey values in hex, for finding photos that show the same picture.
    A manifest contains no thumbnail of a correction, because the manifest outlives the photo.
    `tenant`, `job_id`, `decided_by`, `decided_ms`: where a correction comes from, and who accepted it; "" for the base.
    """

    name: str
    split: Split
    photo: str
    mask: str
    photo_sha256: str
    mask_sha256: str
    thumbnail: str = ""
    tenant: str = ""
    job_id: str = ""
    decided_by: str = ""
    decided_ms: int = 0


@dataclass(frozen=True)
class LeftOut:
    """An accepted correction that a version does not hold, and why."""

    tenant: str
    job_id: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """`labels`: the classes of the masks, as in a model card. `parent`: the number of the version before, or 0."""

    name: str
    number: int
    parent: int
    labels: tuple[ClassLabel, ...]
    items: tuple[Item, ...]
    left_out: tuple[LeftOut, ...]
    created_ms: int

    @property
    def id(self) -> str:
        return f"{self.name}/{self.number}"

    def of(self, *splits: Split) -> list[Item]:
        return [item for item in self.items if item.split in splits]

    @property
    def corrections(self) -> list[Item]:
        return [item for item in self.items if item.job_id]

    def to_document(self, erased: list[str]) -> dict[str, Any]:
        """The document for people. `erased`: the jobs whose photos were erased."""
        return {
            "id": self.id,
            "parent": f"{self.name}/{self.parent}" if self.parent else None,
            "labels": list(self.labels),
            "photos": {split.value: len(self.of(split)) for split in Split},
            "corrections": len(self.corrections),
            "left_out": [asdict(entry) for entry in self.left_out],
            "withdrawn": bool(erased),
            "erased": erased,
            "created_ms": self.created_ms,
        }

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, content: bytes) -> "Manifest":
        fields = json.loads(content)
        items = tuple(Item(**{**item, "split": Split(item["split"])}) for item in fields.pop("items"))
        left_out = tuple(LeftOut(**entry) for entry in fields.pop("left_out"))
        return cls(items=items, left_out=left_out, labels=tuple(fields.pop("labels")), **fields)


class Datasets:
    """Every method raises Unavailable if the object store does not answer."""

    def __init__(self, objects: MinioObjects) -> None:
        self._objects = objects

    def names(self) -> list[str]:
        return sorted(self._objects.folders(DATASETS))

    def versions(self, name: str) -> list[int]:
        """The numbers of the versions, ascending."""
        keys_of = (listed.key for listed in self._objects.listing(DATASETS, object_keys.manifests(name)))
        return sorted(int(key.split("/")[-2]) for key in keys_of)

    def listing(self) -> Iterator[tuple[Manifest, list[str]]]:
        """All versions, each with the jobs whose photos were erased."""
        for name in self.names():
            manifests = [self.manifest(f"{name}/{number}") for number in self.versions(name)]
            stored = self.stored_corrections(name)  # listed after them: a new version's photos are there
            for manifest in manifests:
                yield manifest, erased_jobs(manifest.corrections, stored)

    def manifest(self, dataset: str) -> Manifest:
        """The manifest of `name/number`, or of the newest version of `name`. Raises DatasetError if there is none."""
        name, number = self._named(dataset)
        content = self._objects.get(DATASETS, object_keys.manifest(name, number))
        if content is None:
            raise DatasetError(f"there is no data set version {dataset}: see `segue data list`")
        return Manifest.from_json(content)

    def _named(self, dataset: str) -> tuple[str, int]:
        if found := _ID.fullmatch(dataset):
            return found[1], int(found[2])
        return check_name(dataset), max(self.versions(dataset), default=0)

    def publish(self, manifest: Manifest) -> None:
        """Store a version. Raises DatasetError if the number is taken by another one."""
        key, content = object_keys.manifest(manifest.name, manifest.number), manifest.to_json().encode()
        if (self._objects.get(DATASETS, key) or content) != content:
            raise DatasetError(f"{manifest.id} exists with other photos, and a version never changes")
        self._objects.put(DATASETS, key, content, "application/json")

    def unpublish(self, manifest: Manifest) -> None:
        """Remove a version that no run has used yet."""
        self._objects.remove(DATASETS, object_keys.manifest(manifest.name, manifest.number))

    def stored_corrections(self, name: str) -> set[str]:
        """The keys of the prepared corrections that have not been erased."""
        return {listed.key for listed in self._objects.listing(DATASETS, object_keys.dataset_items(name))}

    def erased(self, manifest: Manifest) -> list[str]:
        """The jobs of the version whose photos were erased. If there are any, the version is withdrawn."""
        return erased_jobs(manifest.corrections, self.stored_corrections(manifest.name))

    def get(self, key: str, sha256: str) -> bytes:
        """A photo or a mask. Raises Erased, or DatasetError if it is damaged."""
        content = self._objects.get(DATASETS, key)
        if content is None:
            raise Erased(f"{key} was erased")
        if sha256_of(content) != sha256:
            raise DatasetError(f"{key} is damaged: its sha256 differs from the manifest's")
        return content

    def put(self, key: str, content: bytes) -> None:
        self._objects.put(DATASETS, key, content, "image/jpeg" if key.endswith(".jpg") else "image/png")


def erased_jobs(corrections: Iterable[Item], stored: set[str]) -> list[str]:
    return sorted({item.job_id for item in corrections if not {item.photo, item.mask} <= stored})


def check_name(name: str) -> str:
    """Raises DatasetError unless `name` can be part of a key."""
    if not _NAME.fullmatch(name):
        raise DatasetError(f"{name!r} is not a data set's name: use a-z, 0-9, _ and -")
    return name
