"""Shared by the commands that use the HTTP API: address and key of the service, and failures."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from segue_client.client import Client
from segue_client.commands.output import FAILED, INTERRUPTED, USAGE, fail, say, show_json
from segue_client.connection import ConfigurationError
from segue_client.failures import FAILURES, explained, one_line

PANEL = "Photos"
DEFAULT_URL = "http://127.0.0.1:8000"
PATIENCE_S = 4  # a person is waiting: fail fast
WAITING_PATIENCE_S = 60  # long enough for a wait to survive a restart of the service

UrlOption = Annotated[str, typer.Option(envvar="SEGUE_URL", help="Address of the service.")]
KeyOption = Annotated[
    str, typer.Option(envvar="SEGUE_KEY", help="API key; prefer the environment variable.", show_envvar=True)
]


@contextmanager
def service(url: str, key: str) -> Iterator[Client]:
    """Yield a client. If the address, the key or the environment is not valid, exit with code 2."""
    try:
        client = Client(url, PATIENCE_S, key)
    except ConfigurationError as error:
        fail(str(error), USAGE)
    with client:
        yield client


@contextmanager
def exit_on_failure(client: Client, empty: dict[str, Any], *, as_json: bool) -> Iterator[None]:
    """If the block fails, print one line and exit; with `as_json` also print `empty` with the `error`."""
    try:
        client.find(PATIENCE_S)
        yield
    except FAILURES as failure:
        error = explained(failure)
        if as_json:
            show_json({**empty, "ok": False, "error": error})
        say(one_line(error), err=True)
        raise typer.Exit(exit_code(failure)) from failure


def exit_code(failure: BaseException) -> int:
    return INTERRUPTED if isinstance(failure, KeyboardInterrupt) else FAILED
