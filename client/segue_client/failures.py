"""Messages for failed requests.

They never quote a library's message, which may contain anything.
"""

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import httpx

from segue_client.documents import ProblemError

SENTENCES: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLCertVerificationError, "its certificate is not trusted"),
    (ssl.SSLError, "it does not speak TLS (http:// instead of https://?)"),
    (socket.gaierror, "unknown host name"),
    (ConnectionRefusedError, "connection refused"),
    (ConnectionResetError, "it closed the connection"),
    (BrokenPipeError, "it closed the connection"),
    (httpx.ProxyError, "the proxy refused"),
    (httpx.TimeoutException, "no answer in time"),
    (httpx.RemoteProtocolError, "it does not speak HTTP, or closed the connection"),
    (httpx.DecodingError, "its response is corrupt"),
    (OSError, "no connection"),
)


class UnreachableError(Exception):
    """The server did not respond, or its response is not readable. The message says why."""


FAILURES = (ProblemError, UnreachableError, TimeoutError, KeyboardInterrupt)


def unreachable(base: httpx.URL, error: Exception) -> UnreachableError:
    causes = list(_causes(error))
    for kind, sentence in SENTENCES:
        if any(isinstance(cause, kind) for cause in causes):
            return UnreachableError(f"{base} does not answer: {sentence}")
    return UnreachableError(f"{base} does not answer: {type(error).__name__}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def explained(failure: BaseException) -> dict[str, Any]:
    """A problem document for one of FAILURES or for an OSError, a file that could not be written."""
    match failure:
        case ProblemError():
            return failure.document
        case UnreachableError():
            return local_problem("Unreachable", str(failure))
        case TimeoutError():
            return local_problem("Not ended", str(failure))
        case OSError():
            return local_problem("Not written", f"{failure.filename or 'OUT'}: {failure.strerror}")
        case _:
            return local_problem("Stopped", "by Ctrl-C")


def local_problem(title: str, detail: str) -> dict[str, Any]:
    """A problem that the client itself found, in the format of the server's problem documents."""
    return {"title": title, "detail": detail, "code": title.lower().replace(" ", "_")}


def one_line(problem: dict[str, Any]) -> str:
    """Format a problem document as `title: detail [code]`."""
    text = ": ".join(str(problem[part]) for part in ("title", "detail") if problem.get(part))
    code = f" [{problem['code']}]" if problem.get("code") else ""
    return f"{text or 'refused'}{code}"
