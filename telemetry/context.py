"""The trace context that a request carries (W3C Trace Context, header `traceparent`)."""

import re

_FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def valid(traceparent: str) -> str:
    """The header's value if it is well-formed and of version 00, otherwise "". Only ASCII passes."""
    return traceparent if _FORM.fullmatch(traceparent) else ""


def trace_id(traceparent: str) -> str:
    """The trace id of a valid `traceparent`. For an empty one, "" ."""
    return traceparent[3:35]
