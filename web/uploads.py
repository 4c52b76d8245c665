"""One upload out of a request: its bytes, its name, its options, checked before anything is stored."""

import hashlib
import time
import unicodedata
from dataclasses import dataclass, replace
from typing import Annotated

from flask import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from storage import keys
from storage.job import LONGEST_DEADLINE_S, Spec
from storage.keys import Lane
from storage.models import Alias
from storage.photos.photo import read_header
from storage.problems import Problem
from storage.settings import Settings
from web.errors import invalid

ENVELOPE_BYTES = 64 * 1024  # what multipart headers and option fields may add to the image
IMAGE_FIELD = "image"
LONGEST_FILENAME_BYTES = 255  # as in a file system
LONGEST_MODEL = 129  # name/version
MOST_TAGS = 20
Tag = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^,\x00-\x1f\x7f]+$")]


def split(value: object) -> object:
    """Of a form or a query, where a list is one text with commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Options(BaseModel):
    """Form fields or query parameters beside the image."""

    model_config = ConfigDict(extra="forbid")

    priority: Lane = Lane.INTERACTIVE
    deadline_s: int | None = Field(default=None, ge=1, le=LONGEST_DEADLINE_S)
    model: str = Field(default=Alias.STABLE, max_length=LONGEST_MODEL)
    # Described as what is sent: one text.
    tags: Annotated[list[Tag], BeforeValidator(split), WithJsonSchema({"type": "string"})] = Field(
        default_factory=list, max_length=MOST_TAGS
    )


@dataclass(frozen=True)
class Upload:
    content: bytes
    filename: str
    options: Options


def read_upload(request: Request) -> Upload:
    """Multipart with one `image` part, or a raw image body with the options in the query. Raises Problem."""
    if request.mimetype == "multipart/form-data":
        files = [file for _, file in request.files.items(multi=True)]
        if len(files) != 1 or IMAGE_FIELD not in request.files:
            raise Problem("invalid_request", f"Send exactly one file, in the field `{IMAGE_FIELD}`.")
        content, filename = files[0].stream.read(), files[0].filename or ""
        files[0].close()  # a large one lies in a temporary file
        fields = [*request.args.items(multi=True), *request.form.items(multi=True)]
    elif request.mimetype.startswith("image/") or request.mimetype == "application/octet-stream":
        content, filename = _raw_body(request), ""
        fields = list(request.args.items(multi=True))
    else:
        raise Problem("unsupported_media_type", "Send multipart/form-data or the image itself as image/*.")
    return Upload(content, clean_filename(filename), _options(fields))


def _raw_body(request: Request) -> bytes:
    """Raises Problem for half a body: gunicorn gives what has come by the time the client leaves, without a word.

    Accepted, it would hold the Idempotency-Key that the client repeats with the whole one.
    """
    content = request.get_data(cache=False)
    if request.content_length is not None and len(content) < request.content_length:
        raise Problem("invalid_request", "The body ended before its Content-Length.")
    return content


def _options(fields: list[tuple[str, str]]) -> Options:
    if len({name for name, _ in fields}) != len(fields):
        raise Problem("invalid_request", "A field was sent twice.")
    try:
        return Options.model_validate(dict(fields))
    except ValidationError as error:
        raise invalid(error) from error


def clean_filename(name: str) -> str:
    """A name is only ever shown: without control and bidirectional characters, at most 255 bytes, never a path."""
    shown = visible(name.replace("\\", "/").rpartition("/")[2])
    return shown.encode(errors="ignore")[:LONGEST_FILENAME_BYTES].decode(errors="ignore")


def checked_custom_id(name: str) -> str:
    """A batch item's relative path, kept as it is. Raises Problem where it is none, or could lead out of a folder."""
    parts = name.split("/")
    if not name or len(name.encode(errors="replace")) > LONGEST_FILENAME_BYTES or name != visible(name):
        raise Problem("invalid_request", f"A file name must have 1 to {LONGEST_FILENAME_BYTES} bytes.")
    if "\\" in name or ".." in parts or "." in parts or "" in parts:
        raise Problem("invalid_request", "A file name must be a relative path with forward slashes.")
    return name


def visible(text: str) -> str:
    """Without control and bidirectional characters."""
    return "".join(c for c in text if unicodedata.category(c)[0] != "C")


def to_spec(upload: Upload, tenant: str, settings: Settings) -> Spec:
    """Checks the image's header and describes the job of a single upload. Raises Problem."""
    spec = describe(upload.content, settings)
    return replace(
        spec,
        tenant=tenant,
        lane=upload.options.priority,
        model=upload.options.model,
        deadline_ms=spec.created_ms + (upload.options.deadline_s or settings.deadline_s) * 1000,
        filename=upload.filename,
        tags=",".join(upload.options.tags),
    )


def describe(content: bytes, settings: Settings) -> Spec:
    """What the image itself says, everything else at its default. Raises Problem."""
    header = read_header(content, settings)
    now_ms = time.time_ns() // 1_000_000
    return Spec(
        id=keys.new_job_id(),
        tenant="",
        lane=Lane.INTERACTIVE,
        model=Alias.STABLE,
        created_ms=now_ms,
        deadline_ms=now_ms + settings.deadline_s * 1000,
        filename="",
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        width=header.width,
        height=header.height,
        format=header.format,
    )
