"""Verdicts and candidates in the object store."""

import time
from pathlib import Path

import learned
from services import SHIPPED_MODEL

from learning.gate.verdict import GateOutcome, Verdict
from storage.connection import Storage
from storage.training import candidates, verdicts


def test_the_public_part_has_no_figures_and_the_sealed_part_has_all(own_store: Storage) -> None:
    made = learned.judged(own_store, "pets/4", GateOutcome.FAILED)
    public = verdicts.newest(own_store.objects, "pets/4")
    assert public == made.public()
    assert "secret" not in str(public)
    sealed = verdicts.sealed(own_store.objects, "pets/4", "a")
    assert sealed
    assert Verdict.from_dict(sealed) == made
    assert sealed["checks"][0]["figures"] == {"secret score": 0.9}


def test_a_verdict_is_of_one_candidate_and_one_set_of_corrections(own_store: Storage) -> None:
    learned.judged(own_store, "pets/41", GateOutcome.PASSED)
    assert verdicts.newest(own_store.objects, "pets/4") is None
    assert verdicts.sealed(own_store.objects, "pets/41", "b") is None


def test_the_newest_verdict_counts(own_store: Storage) -> None:
    for held_out, outcome in (("b", GateOutcome.UNDECIDED), ("a", GateOutcome.FAILED), ("c", GateOutcome.PASSED)):
        learned.judged(own_store, "pets/4", outcome, held_out=held_out)
        found = verdicts.newest(own_store.objects, "pets/4")
        assert found
        assert found["outcome"] == outcome
        time.sleep(1.1)  # the store's times may be whole seconds


def test_only_versions_that_a_run_made_are_candidates(own_store: Storage, tmp_path: Path) -> None:
    own_store.models.publish(SHIPPED_MODEL)
    assert candidates.listing(own_store) == []
    version = learned.candidate(own_store, tmp_path, "4")
    [found] = candidates.listing(own_store)
    assert (found.version, found.dataset, found.start, found.outcome) == (version, "pets/1", "pets/3", "not judged")
    assert found == candidates.find(own_store, version)
    assert candidates.find(own_store, "pets/3") is None
    assert candidates.find(own_store, "pets/99") is None
