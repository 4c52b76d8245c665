"""multipart/form-data within limits, with a parser that hostile input cannot slow down."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

import gevent
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser
from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from storage.problems import Problem

BOUNDARY_BYTES = 200  # RFC 2046 allows 70
HEADERS, HEADER_BYTES = 8, 4096  # per part; RFC 7578 defines three
FIRST_BYTES = 4096 + HEADERS * HEADER_BYTES  # before the first part's content: a preamble and the part's headers
FIELD_BYTES = 64 * 1024  # the limit of a part without a file name
STEP = 64 * 1024

Files = MultiDict[str, FileStorage]
Form = MultiDict[str, str]


class FormParser(FormDataParser):
    """Implements Werkzeug's interface. It leaves a body of another type unread."""

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> tuple[IO[bytes], Form, Files]:
        """Return the stream, the text fields and the files. Raises Problem."""
        if mimetype != "multipart/form-data":
            return stream, self.cls(), self.cls()
        boundary = (options or {}).get("boundary", "")
        if not 0 < len(boundary) <= BOUNDARY_BYTES or not boundary.isascii():
            raise Problem("invalid_request", "multipart/form-data needs a boundary of 1 to 200 ASCII characters.")
        parts = self.max_form_parts or 1
        gathered = _Gathered(lambda: self.stream_factory(content_length, None, None, None))
        try:
            _read(stream, boundary, parts, gathered)
        except ParserLimitReached as error:
            limits = f"{parts} parts, {HEADERS} headers of {HEADER_BYTES} bytes in each"
            raise Problem("payload_too_large", f"{error.args[0]}: at most {limits}.") from error
        except MultipartError as error:
            raise Problem("invalid_request", f"The form is malformed: {_reason(error)}.") from error
        return stream, self.cls(gathered.fields), self.cls(gathered.files)


@dataclass
class _Gathered:
    """The fields and files received so far. `new_file` opens a spooled file."""

    new_file: Callable[[], IO[bytes]]
    fields: list[tuple[str, str]] = field(default_factory=list)
    files: list[tuple[str, FileStorage]] = field(default_factory=list)
    _name: str = ""
    _text: bytearray | None = None

    def take(self, event: MultipartSegment | bytes | None) -> None:
        """Handle the parser's events: for each part its head, chunks of its content, then None."""
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event is None:
            if self._text is not None:
                self.fields.append((self._name, self._text.decode(errors="replace")))
            else:
                self.files[-1][1].stream.seek(0)
        elif self._text is None:
            self.files[-1][1].stream.write(event)
        else:
            self._text += event
            if len(self._text) > FIELD_BYTES:
                raise Problem("payload_too_large", f"A field has more than {FIELD_BYTES} bytes.")

    def _begin(self, part: MultipartSegment) -> None:
        # Werkzeug's function understands `filename*` (RFC 5987); the parser's own does not.
        _, options = parse_options_header(part["Content-Disposition"])
        self._name, filename = options.get("name", ""), options.get("filename")
        self._text = bytearray() if filename is None else None
        if filename is not None:
            sent = FileStorage(self.new_file(), filename, self._name, headers=Headers(part.headerlist))
            self.files.append((self._name, sent))


def _read(stream: IO[bytes], boundary: str, parts: int, gathered: _Gathered) -> None:
    parser: Any = PushMultipartParser(
        boundary, max_header_size=HEADER_BYTES, max_header_count=HEADERS, max_segment_count=parts
    )
    received, began = 0, False
    while chunk := stream.read(STEP if began else FIRST_BYTES):
        received += len(chunk)
        for event in parser.parse(chunk):
            gathered.take(event)
            began = True
        if not began and received >= FIRST_BYTES:
            raise Problem("payload_too_large", f"No part begins within the form's first {FIRST_BYTES} bytes.")
        gevent.sleep(0)  # the event loop serves other clients between two steps
    parser.close()


def _reason(error: MultipartError) -> str:
    """The parser's message without its period; for a decoding error, a message that names the expected encoding."""
    if any(isinstance(argument, UnicodeDecodeError) for argument in error.args):
        return "the header of a part, such as its file name, is not UTF-8"
    return str(error.args[0]).rstrip(".")
