"""What the jobs of a request remember of it."""

from dataclasses import dataclass

from flask import g

from web.access.party import party


@dataclass(frozen=True)
class Origin:
    """As in the job's spec."""

    party: str
    request_id: str
    traceparent: str


def origin() -> Origin:
    return Origin(party(), g.request_id, g.traceparent)
