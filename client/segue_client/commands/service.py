"""What the commands over the HTTP API have in common: where the service is, and with which key."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from httpx import HTTPError

from segue_client.client import Client
from segue_client.commands.output import fail
from segue_client.connection import address
from segue_client.documents import ProblemError
from segue_client.terminal import printable

PANEL = "Photos"
DEFAULT_URL = "http://127.0.0.1:8000"
PATIENCE_S = 5  # for the first answer: somebody sits before it
WAITING_PATIENCE_S = 60  # what waits already outlasts a restart of the service

UrlOption = Annotated[str, typer.Option(envvar="SEGUE_URL", help="Address of the service.")]
KeyOption = Annotated[str, typer.Option(envvar="SEGUE_KEY", help="API key; better by the variable.", show_envvar=True)]


@contextmanager
def service(url: str, key: str) -> Iterator[Client]:
    """Its client. What the service refuses, or that it is away, is one line and not a traceback."""
    try:
        address(url)
        client = Client(url, PATIENCE_S, key)
    except ValueError as error:
        raise typer.BadParameter("key: not ASCII." if isinstance(error, UnicodeError) else str(error)) from error
    with client:
        try:
            yield client
        except ProblemError as error:
            fail(one_line(error.document))
        except HTTPError as error:
            fail(away(url, error))


def one_line(problem: dict[str, Any]) -> str:
    """`title: detail [code]` of a problem document, safe to show in a terminal."""
    text = ": ".join(str(problem[part]) for part in ("title", "detail") if problem.get(part))
    code = f" [{problem['code']}]" if problem.get("code") else ""
    return printable(f"{text or 'refused'}{code}")


def away(url: str, error: Exception) -> str:
    return f"{url} does not answer: {error or type(error).__name__}"
