"""Judges a candidate on the gate set and the held-out corrections, and enters what it spends in the alpha ledger.

ledgers/{digest of the gate set}.json in TRAINING: what the candidates have spent, whatever the data set is called. A
verdict is stored before the ledger is closed, so a kill in between repeats nothing; a second run with the same photos
and the same stable version finds the first one's verdict.
"""

import json
from collections.abc import Callable
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any

from learning.data.folder import bring
from learning.gate import ledger as ledgers
from learning.gate.gate import judge
from learning.gate.ledger import Ledger, LedgerEntry
from learning.gate.verdict import Verdict
from learning.steps import Place, Step, whole
from learning.watch import Watch
from model.card import CARD, Card, sha256
from model.data import examples
from storage import object_keys
from storage.connection import Storage
from storage.models import Alias
from storage.objects import TRAINING
from storage.problems import Unavailable
from storage.training import verdicts
from storage.training.datasets import DatasetError, Split
from storage.training.runs import Spec
from storage.training.submitting import GateParameters, withdrawn

LOCKED_S = 30.0


def steps(place: Place, spec: Spec) -> list[Step]:
    return whole(place, spec, gate)


def gate(place: Place, spec: Spec, watch: Watch) -> dict[str, Any]:
    """Returns the verdict's public part."""
    storage, wanted = place.storage, GateParameters.model_validate(spec.parameters)
    watch.report("fetching")
    candidate = _fetched(place, wanted.candidate)
    stable = storage.models.aliases(fresh=True)[Alias.STABLE]
    if stable == wanted.candidate:
        raise DatasetError(f"{stable} is stable: there is nothing to compare it with")
    card = Card.load(candidate)
    _check_origin(storage, card)
    stable_folder = _fetched(place, stable)
    manifest = storage.datasets.manifest(wanted.dataset or _learned_from(card))
    if erased := storage.datasets.erased(manifest):
        raise DatasetError(withdrawn(manifest.id, len(erased)))
    data = bring(storage, manifest, place.folder / manifest.id.replace("/", "-"), Split, watch.beat)
    gate_set, held_out = (ledgers.digest(examples(data, split)) for split in (Split.GATE, Split.HELD_OUT))
    subject = ledgers.Candidate(wanted.candidate, sha256(candidate / CARD), held_out, stable)
    basis = sha256_of(f"{gate_set} {held_out} {stable}".encode()).hexdigest()
    verdict = _known(storage, wanted.candidate, basis)
    if verdict is None:
        entry = _spend(storage, gate_set, subject)
        watch.report("judging", figures={"alpha": entry.alpha})
        verdict = judge(candidate, stable_folder, data, entry.alpha, beat=watch.beat)
        verdicts.store(storage.objects, wanted.candidate, basis, verdict.to_dict(), verdict.public())
        _change(storage, gate_set, lambda ledger: ledgers.close(ledger, subject, verdict.outcome))
    return {"candidate": wanted.candidate, "dataset": manifest.id, "verdict": verdict.public()}


def _fetched(place: Place, version: str) -> Path:
    """The version's folder with all its files."""
    folder = place.folder / version
    place.storage.models.fetch(version, folder)
    return folder


def _check_origin(storage: Storage, card: Card) -> None:
    """Raises DatasetError if the candidate fine-tunes a version that was never stable.

    Such a version may have been trained on the gate's photos: the candidate's own list does not show it.
    """
    start = card.training.get("start", "")
    served = {entry["version"] for entry in storage.models.history()[Alias.STABLE]}
    if isinstance(start, str) and start and start not in served:
        raise DatasetError(f"it was fine-tuned from {start}, which has never been stable, so no gate knows its photos")


def _learned_from(card: Card) -> str:
    """Raises DatasetError for a version that no run of the learning loop has made."""
    dataset = card.training.get("dataset")
    if not dataset:
        raise DatasetError(f"the card of {card.id} names no data set: say which one to judge on")
    return str(dataset)


def _known(storage: Storage, candidate: str, basis: str) -> Verdict | None:
    sealed = verdicts.sealed(storage.objects, candidate, basis)
    return Verdict.from_dict(sealed) if sealed else None


def _spend(storage: Storage, gate_set: str, subject: ledgers.Candidate) -> LedgerEntry:
    found: list[LedgerEntry] = []

    def spend(ledger: Ledger) -> Ledger:
        ledger, entry = ledgers.spend(ledger, subject)
        found.append(entry)
        return ledger

    _change(storage, gate_set, spend)
    return found[-1]


def _change(storage: Storage, gate_set: str, change: Callable[[Ledger], Ledger]) -> None:
    key = object_keys.ledger(gate_set)
    with storage.jobs.locks.alone(f"training:ledger:{gate_set}", LOCKED_S) as chosen:
        if not chosen:
            raise Unavailable("another gate writes the ledger")
        content = storage.objects.get(TRAINING, key)
        ledger = Ledger.from_dict(json.loads(content), gate_set) if content else Ledger(gate_set)
        storage.objects.put(TRAINING, key, json.dumps(change(ledger).to_dict()).encode(), "application/json")
