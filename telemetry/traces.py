"""Whether this process sends traces, and to which recorder. Without an endpoint, OpenTelemetry is not imported."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telemetry.spans import Recorder

_recorder: "Recorder | None" = None
NOTHING = nullcontext()


def start(endpoint: str, service: str) -> None:
    """Send spans to `{endpoint}/v1/traces` from now on. Does nothing if `endpoint` is empty.

    Starts a thread: call it in the process that works, after a fork. Raises SystemExit if OpenTelemetry is not
    installed.
    """
    if not endpoint:
        return
    try:
        from telemetry.spans import exporting
    except ImportError as error:
        raise SystemExit(f"OTEL_EXPORTER_OTLP_ENDPOINT is set: install segue[traces] ({error})") from error
    use(exporting(endpoint, service))


def use(recorder: "Recorder | None") -> None:
    global _recorder  # noqa: PLW0603 - like OpenTelemetry's own provider, one per process
    _recorder = recorder


def recorder() -> "Recorder | None":
    """None if this process sends no traces."""
    return _recorder


def stop() -> None:
    """Send what is waiting, for a few seconds at most."""
    if _recorder:
        _recorder.stop()
    use(None)


def s3(operation: str, bucket: str) -> AbstractContextManager[None]:
    """A span around an operation of the object store, if it belongs to a request that is traced."""
    return _recorder.s3(operation, bucket) if _recorder else NOTHING
