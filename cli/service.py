"""What the commands over the HTTP API have in common: where the service is, and with which key."""

from typing import Annotated

import typer

PANEL = "Photos"
DEFAULT_URL = "http://127.0.0.1:8000"

UrlOption = Annotated[str, typer.Option(envvar="SEGUE_URL", help="Address of the service.")]
KeyOption = Annotated[str, typer.Option(envvar="SEGUE_KEY", help="API key; better by the variable.", show_envvar=True)]
