"""Requests that may carry a corrected mask: JSON without one, or a form with the file `mask`."""

from typing import TypeVar

from flask import request
from pydantic import BaseModel, ValidationError

from storage.photos import class_ids
from storage.photos.class_ids import Classes, Size
from storage.photos.photo import read_header
from storage.problems import Problem
from web.errors import invalid
from web.rendering.work import client, corrected_bytes
from web.services import connected
from web.threads import in_thread

T = TypeVar("T", bound=BaseModel)


def read_with_mask(model: type[T]) -> tuple[T, bytes | None]:
    """Return the fields, and the content of `mask` if it was sent. Raises Problem."""
    try:
        if request.mimetype == "application/json":
            return model.model_validate_json(request.get_data()), None
        if request.mimetype != "multipart/form-data":
            raise Problem("unsupported_media_type", "Send application/json, or multipart/form-data with a `mask`.")
        files = list(request.files.items(multi=True))
        if [name for name, _ in files] != ["mask"] or len(list(request.form.items(multi=True))) != len(request.form):
            raise Problem("invalid_request", "Send one file, in the field `mask`, and each other field once.")
        content = files[0][1].stream.read()
        files[0][1].close()
        return model.model_validate(request.form.to_dict()), content
    except ValidationError as error:
        raise invalid(error) from error


def corrected_mask(sent: bytes, size: Size, classes: Classes) -> bytes:
    """Return the sent mask as a grey PNG of class ids, decoded in the caller's turn.

    `size`: of the upright photo. Raises Problem if the mask does not fit it.
    """
    settings = connected().settings
    header = read_header(sent, settings)
    if header.width * header.height != size[0] * size[1]:  # before decoding
        class_ids.check_size((header.width, header.height), size)
    with client().turn(corrected_bytes(size[0] * size[1])):
        return in_thread(class_ids.corrected, sent, size, classes, settings)
