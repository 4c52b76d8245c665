"""Read one upload from a request: its bytes, file name and options, checked before anything is stored."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated

from flask import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from werkzeug.datastructures import FileStorage

from storage import clock, keys
from storage.job import LONGEST_DEADLINE_S, Spec
from storage.keys import Lane
from storage.models import Alias
from storage.photos.photo import read_header
from storage.problems import Problem
from storage.settings import Settings
from web.data_url import decode, longest_body
from web.errors import invalid
from web.filenames import clean_filename, sent_name, visible
from web.origin import Origin
from web.parsing import parsed

ENVELOPE_BYTES = 64 * 1024  # what multipart headers and option fields may add to the image
IMAGE_FIELD = "image"
LONGEST_MODEL = 129  # name/version
MOST_TAGS = 20
Tag = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^,\x00-\x1f\x7f]+$")]


def split(value: object) -> object:
    """Split the comma-separated list of a form or query field. JSON lists pass through."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        raise ValueError("send the words separated by commas (cat,dog), not as a JSON list")
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


# The JSON schema describes what clients send: one string.
Tags = Annotated[list[Tag], BeforeValidator(split), Field(max_length=MOST_TAGS), WithJsonSchema({"type": "string"})]


class Options(BaseModel):
    """Form fields or query parameters beside the image."""

    model_config = ConfigDict(extra="forbid")

    priority: Lane = Lane.INTERACTIVE
    deadline_s: int | None = Field(default=None, ge=1, le=LONGEST_DEADLINE_S)
    model: str = Field(default=Alias.STABLE, max_length=LONGEST_MODEL)
    tags: Tags = Field(default_factory=list)


class JsonUpload(Options):
    """`image`: a data URL."""

    image: str = Field(description="`data:image/jpeg;base64,…`; the content determines the type.")
    filename: str = ""


@dataclass(frozen=True)
class Upload:
    content: bytes
    filename: str
    options: Options


def read_upload(request: Request, settings: Settings) -> Upload:
    """Read multipart with one `image` part, JSON with a data URL, or the image itself. Raises Problem."""
    if request.mimetype == "multipart/form-data":
        file = _only_image(request)
        content, filename = file.stream.read(), sent_name(file)
        file.close()  # a large part occupies a temporary file
        return Upload(content, clean_filename(filename), _options(request, request.form.items(multi=True)))
    if request.mimetype == "application/json":
        return _read_json(request, settings)
    if request.mimetype.startswith("image/") or request.mimetype == "application/octet-stream":
        return Upload(request.get_data(cache=False), "", _options(request, ()))
    raise Problem(
        "unsupported_media_type",
        f"The Content-Type is {_shown(request.mimetype)}: send multipart/form-data, the image itself as image/*, or "
        "application/json with a data URL.",
    )


def _shown(mimetype: str) -> str:
    return f"`{visible(mimetype)[:64]}`" if mimetype else "missing"


def _only_image(request: Request) -> FileStorage:
    names = list(request.files.keys())
    files = list(request.files.items(multi=True))
    if IMAGE_FIELD in request.form:
        raise Problem(
            "invalid_request", f'The part `{IMAGE_FIELD}` has no file name, so it is text: add filename="photo.jpg".'
        )
    if IMAGE_FIELD not in names:
        raise Problem("invalid_request", f"The form has no file in the field `{IMAGE_FIELD}`.")
    if len(files) != 1:
        raise Problem("invalid_request", f"The form has {len(files)} files: send one, in the field `{IMAGE_FIELD}`.")
    return files[0][1]


def _read_json(request: Request, settings: Settings) -> Upload:
    request.max_content_length = longest_body(settings) + ENVELOPE_BYTES
    document = parsed(JsonUpload, request.get_data(cache=False))
    if request.args:
        raise Problem("invalid_request", "The query has parameters: put the options into the JSON document.")
    options = Options.model_validate(document.model_dump(include=set(Options.model_fields)))
    return Upload(decode(document.image, settings), clean_filename(document.filename), options)


def _options(request: Request, form: Iterable[tuple[str, str]]) -> Options:
    fields = [*request.args.items(multi=True), *form]
    if len({name for name, _ in fields}) != len(fields):
        raise Problem("invalid_request", "A field was sent twice.")
    try:
        return Options.model_validate(dict(fields))
    except ValidationError as error:
        raise invalid(error) from error


def to_spec(upload: Upload, tenant: str, origin: Origin, settings: Settings) -> Spec:
    """Check the image's header and return the spec of a single upload's job. Raises Problem."""
    spec = describe(upload.content, settings)
    return replace(
        spec,
        tenant=tenant,
        party=origin.party,
        request_id=origin.request_id,
        traceparent=origin.traceparent,
        lane=upload.options.priority,
        model=upload.options.model,
        deadline_ms=spec.created_ms + (upload.options.deadline_s or settings.deadline_s) * 1000,
        filename=upload.filename,
        tags=",".join(upload.options.tags),
    )


def describe(content: bytes, settings: Settings) -> Spec:
    """Return a spec from the image's header, with defaults for the other fields. Raises Problem."""
    header = read_header(content, settings)
    now_ms = clock.now_ms()
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
