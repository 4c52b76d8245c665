"""Request bodies: the gate admits each before its first byte is read, and its length is limited."""

import io
from collections.abc import Callable
from typing import cast

from flask import Request, Response, current_app, g, request
from werkzeug.utils import cached_property

from storage.problems import Problem
from web.access.caller import LOCAL
from web.access.credentials import address
from web.access.exposure import is_open
from web.access.rate_limits import places
from web.http.connection import Connection
from web.http.multipart import FormParser
from web.services import connected, gate, rate_limits

OTHER_BYTES = 64 * 1024  # the limit of a body that is neither a form nor an image
STEP = 256 * 1024


class GatedRequest(Request):
    """A view sets its limits, then reads the body through `stream`, `get_data`, `files` or `form`."""

    form_data_parser_class = FormParser
    _leave: Callable[[], None] | None = None

    @cached_property
    def stream(self) -> "Body":  # type: ignore[override]
        """Admit the body through the gate. Raises Problem if it is too large or the gate is full."""
        length = self.content_length
        if length is None and "HTTP_TRANSFER_ENCODING" not in self.environ:
            length = 0
        most = self._most_bytes()
        if length is not None and length > most:
            raise Problem("payload_too_large", f"The body has {length} bytes; at most {most} are accepted.")
        if length != 0:
            self._enter(most if length is None else length)
        return Body(self.environ["wsgi.input"], length, most)

    def _most_bytes(self) -> int:
        """Return the view's own limit, or the app's; the app's holds only for images and forms."""
        most, default = cast(int, self.max_content_length), current_app.config["MAX_CONTENT_LENGTH"]
        large = self.mimetype.startswith(("image/", "multipart/")) or self.mimetype == "application/octet-stream"
        return most if large or most != default else min(most, OTHER_BYTES)

    def _enter(self, size: int) -> None:
        owners = list(places(address()))
        if "caller" not in g:
            if not is_open(connected().settings):
                rate_limits().take_body(address())
        elif g.caller is not LOCAL:  # all callers of an open server share the tenant of LOCAL
            owners.append(f"tenant {g.caller.tenant}")
        self._leave = gate().enter(tuple(owners), size)

    def release(self) -> None:
        """Give the body's share of the gate back, once the body is no longer held in memory."""
        leave, self._leave = self._leave, None
        if leave:
            leave()


class Body(io.RawIOBase):
    """A stream that raises Problem if it has more bytes than `most`, or fewer than `length`."""

    def __init__(self, source: io.RawIOBase, length: int | None, most: int) -> None:
        self._source, self._length, self._most, self._received = source, length, most, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        whole = self._most + 1 if self._length is None else self._length
        data = self._source.read(min(len(buffer), whole - self._received)) or b""
        self._received += len(data)
        if self._received > self._most:
            raise Problem("payload_too_large", f"The body has more than the {self._most} bytes that are accepted.")
        if not data and len(buffer) and self._length is not None and self._received < self._length:
            raise Problem("invalid_request", f"The body ended after {self._received} of {self._length} bytes.")
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        content = io.BytesIO()
        while data := self.read(STEP):
            content.write(data)
        return content.getvalue()


def close_unless_read(response: Response) -> Response:
    """Close the connection after a view that left the body unread, instead of reading it to its end."""
    connection = request.environ.get("gunicorn.socket")
    if isinstance(connection, Connection):
        connection.close_unless_read()
    return response


def release_body(_: BaseException | None = None) -> None:
    """Call this when the request ends, or once its body is stored and only the response is pending."""
    cast(GatedRequest, request).release()
