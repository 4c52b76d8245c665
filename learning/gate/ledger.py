"""The alpha ledger: what the candidates judged on one locked gate set may spend together.

The k-th candidate gets total / (k (k + 1)). All of them together get at most `total`, which is the probability that an
equal or inferior one ever passes (Bonferroni over a fixed series: Foster & Stine 2008 call it alpha-spending).
"""

from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any

from learning.gate.verdict import GateOutcome
from model.card import sha256 as digest_of
from model.data import Example

TOTAL = 0.05
SMALLEST_ALPHA = 2e-5  # a smaller one would need millions of resamples: the gate set is used up


class LedgerError(Exception):
    """The ledger refuses; the message gives the reason in one sentence."""


@dataclass(frozen=True)
class Candidate:
    """What is judged: the id of a version, the SHA-256 of its card, the `digest` of the held-out corrections, and the
    id of the version that it is compared with.

    With other held-out corrections, or another stable version, the candidate has another chance to pass, so it spends
    again.
    """

    id: str
    card: str
    held_out: str
    stable: str


@dataclass(frozen=True)
class LedgerEntry:
    """`number` counts from 1. `outcome`: None until the candidate is judged."""

    number: int
    candidate: Candidate
    alpha: float
    outcome: GateOutcome | None = None


@dataclass(frozen=True)
class Ledger:
    """`gate`: the `digest` of the locked gate set."""

    gate: str
    total: float = TOTAL
    entries: tuple[LedgerEntry, ...] = ()

    @property
    def left(self) -> float:
        return self.total / (len(self.entries) + 1)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, found: dict[str, Any], gate: str) -> "Ledger":
        """Raises LedgerError if this is the ledger of another gate set; KeyError or TypeError if `found` is none."""
        if found["gate"] != gate:
            raise LedgerError("this ledger is of another gate set: import new gate photos as a new data set")
        return cls(gate, float(found["total"]), tuple(_entry(one) for one in found["entries"]))


def _entry(found: dict[str, Any]) -> LedgerEntry:
    outcome = None if found["outcome"] is None else GateOutcome(found["outcome"])
    return LedgerEntry(found["number"], Candidate(**found["candidate"]), found["alpha"], outcome)


def digest(photos: list[Example]) -> str:
    """The digest of the bytes of photos and masks, whatever their names and order."""
    each = sorted(digest_of(one.photo) + digest_of(one.mask) for one in photos)
    return sha256("\n".join(each).encode()).hexdigest()


def spend(ledger: Ledger, candidate: Candidate) -> tuple[Ledger, LedgerEntry]:
    """The ledger and the candidate's entry: an existing one, or a new one. Store the ledger before judging.

    Raises LedgerError if too little is left, or if this version was charged with another card.
    """
    for entry in ledger.entries:
        if entry.candidate == candidate:
            return ledger, entry
        if entry.candidate.id == candidate.id and entry.candidate.card != candidate.card:
            raise LedgerError(f"{candidate.id} was judged with another card: a published version never changes")
    number = len(ledger.entries) + 1
    alpha = ledger.total / (number * (number + 1))
    if alpha < SMALLEST_ALPHA:
        raise LedgerError(f"the gate set has judged {len(ledger.entries)} candidates and is used up: import another")
    entry = LedgerEntry(number, candidate, alpha)
    return replace(ledger, entries=(*ledger.entries, entry)), entry


def close(ledger: Ledger, candidate: Candidate, outcome: GateOutcome) -> Ledger:
    """Note the outcome of a candidate. The same outcome may be noted again.

    Raises LedgerError if the candidate was not charged, or if another outcome was noted.
    """
    found = {entry.candidate: entry for entry in ledger.entries}
    if candidate not in found:
        raise LedgerError(f"{candidate.id} was not charged")
    entry = found[candidate]
    if entry.outcome not in (None, outcome):
        raise LedgerError(f"{candidate.id} was judged already: {entry.outcome}")
    entries = tuple(replace(one, outcome=outcome) if one is entry else one for one in ledger.entries)
    return replace(ledger, entries=entries)
