"""Why an exchange failed, in a sentence of our own: a library's text may hold anything."""

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import httpx

from segue_client.documents import ProblemError

SENTENCES: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLCertVerificationError, "its certificate is not trusted"),
    (ssl.SSLError, "it does not speak TLS (http:// instead of https://?)"),
    (socket.gaierror, "its name is not known"),
    (ConnectionRefusedError, "connection refused"),
    (ConnectionResetError, "it closed the connection"),
    (BrokenPipeError, "it closed the connection"),
    (httpx.ProxyError, "the proxy refused"),
    (httpx.TimeoutException, "no answer in time"),
    (httpx.RemoteProtocolError, "it does not speak HTTP, or closed the connection"),
    (httpx.DecodingError, "its answer is damaged"),
    (OSError, "no connection"),
)


class UnreachableError(Exception):
    """No answer, or none that can be read. The text says where and why."""


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
    """The problem document of one of FAILURES, or of a file that could not be written."""
    match failure:
        case ProblemError():
            return failure.document
        case UnreachableError():
            return refused("Unreachable", str(failure))
        case TimeoutError():
            return refused("Not ended", str(failure))
        case OSError():
            return refused("Not written", f"{failure.filename or 'OUT'}: {failure.strerror}")
        case _:
            return refused("Stopped", "by Ctrl-C")


def refused(title: str, detail: str) -> dict[str, Any]:
    """A problem of our own, in the form of the service's."""
    return {"title": title, "detail": detail, "code": title.lower().replace(" ", "_")}


def one_line(problem: dict[str, Any]) -> str:
    """`title: detail [code]` of a problem document."""
    text = ": ".join(str(problem[part]) for part in ("title", "detail") if problem.get(part))
    code = f" [{problem['code']}]" if problem.get("code") else ""
    return f"{text or 'refused'}{code}"
