"""The client of Segue's HTTP API. It needs httpx, rich and typer, and no part of the server."""

from segue_client.batch import Batch
from segue_client.client import Client
from segue_client.connection import ConfigurationError
from segue_client.documents import AppendOutcome, ChecksumError, Item, Job, ProblemError
from segue_client.failures import UnreachableError

__all__ = [
    "AppendOutcome", "Batch", "ChecksumError", "Client", "ConfigurationError", "Item", "Job", "ProblemError",
    "UnreachableError",
]  # fmt: skip
__version__ = "0.1.0"
