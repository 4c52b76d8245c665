"""Judges a candidate on the gate set and the held-out corrections, and enters what it spends in the alpha ledger.

{dataset}/ledger.json in DATASETS: what the candidates have spent. A verdict is stored before its entry is closed. So
after a kill in between, or in a second run on the same photos, the stored verdict is found and nothing is judged again.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from learning.data.folder import bring
from learning.gate import ledger as ledgers
from learning.gate.gate import judge
from learning.gate.ledger import Entry, Ledger
from learning.gate.verdict import Verdict
from learning.steps import Place, Step, whole
from learning.watch import Watch
from model.card import sha256
from model.data import examples
from storage import keys
from storage.connection import Storage
from storage.models import Alias
from storage.objects import DATASETS
from storage.problems import Unavailable
from storage.training import verdicts
from storage.training.datasets import DatasetError, Manifest, Split
from storage.training.runs import Spec
from storage.training.submitting import GateParameters

LOCKED_S = 30.0


def steps(place: Place, spec: Spec) -> list[Step]:
    return whole(place, spec, gate)


def gate(place: Place, spec: Spec, watch: Watch) -> dict[str, Any]:
    """Returns the verdict's public part."""
    storage, wanted = place.storage, GateParameters.model_validate(spec.parameters)
    watch.report("fetching")
    candidate = _fetched(place, wanted.candidate)
    stable = _fetched(place, storage.models.aliases(fresh=True)[Alias.STABLE])
    manifest = storage.datasets.manifest(wanted.dataset or _learned_from(candidate))
    data = bring(storage, manifest, place.folder / manifest.id.replace("/", "-"), Split, watch.beat)
    held_out = ledgers.digest(examples(data, Split.HELD_OUT))
    subject = ledgers.Candidate(wanted.candidate, sha256(candidate / "card.json"), held_out)
    verdict = _known(storage, wanted.candidate, held_out)
    if verdict is None:
        gate_set = ledgers.digest(examples(data, Split.GATE))
        entry = _spend(storage, manifest, gate_set, subject)
        watch.report("judging", figures={"alpha": entry.alpha})
        verdict = judge(candidate, stable, data, entry.alpha)
        verdicts.store(storage.objects, wanted.candidate, held_out, verdict.to_dict(), verdict.public())
        _change(storage, manifest, gate_set, lambda ledger: ledgers.close(ledger, subject, verdict.outcome))
    return {"candidate": wanted.candidate, "dataset": manifest.id, "verdict": verdict.public()}


def _fetched(place: Place, version: str) -> Path:
    """The version's folder with all its files."""
    folder = place.folder / version
    card = place.storage.models.card(version)
    for name in card["files"] if card else ():
        place.storage.models.fetch(version, folder, name)
    if card is None:
        raise DatasetError(f"{version} is not in the registry")
    return folder


def _learned_from(candidate: Path) -> str:
    """Raises DatasetError for a version that no run of the learning loop has made."""
    card = json.loads((candidate / "card.json").read_text())
    dataset = card["training"].get("dataset")
    if not dataset:
        raise DatasetError(f"the card of {card['name']}/{card['version']} names no data set: say which one to judge on")
    return str(dataset)


def _known(storage: Storage, candidate: str, held_out: str) -> Verdict | None:
    sealed = verdicts.sealed(storage.objects, candidate, held_out)
    return Verdict.from_dict(sealed) if sealed else None


def _spend(storage: Storage, manifest: Manifest, gate_set: str, subject: ledgers.Candidate) -> Entry:
    found: list[Entry] = []

    def spend(ledger: Ledger) -> Ledger:
        ledger, entry = ledgers.spend(ledger, subject)
        found.append(entry)
        return ledger

    _change(storage, manifest, gate_set, spend)
    return found[-1]


def _change(storage: Storage, manifest: Manifest, gate_set: str, change: Callable[[Ledger], Ledger]) -> None:
    key = keys.ledger(manifest.name)
    with storage.jobs.locks.alone(f"training:ledger:{manifest.name}", LOCKED_S) as chosen:
        if not chosen:
            raise Unavailable(f"another gate writes the ledger of {manifest.name}")
        content = storage.objects.get(DATASETS, key)
        ledger = Ledger.from_dict(json.loads(content), gate_set) if content else Ledger(gate_set)
        storage.objects.put(DATASETS, key, json.dumps(change(ledger).to_dict()).encode(), "application/json")
