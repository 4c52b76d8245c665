"""The estimate of a waiting job: how it depends on the queue, the workers and the submissions."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.outlook import Inflow, Outlook, Pace

COSTS = st.floats(0, 1000)
PACES = st.builds(
    Pace, batch=COSTS, image=st.floats(0.1, 1000), megapixel=COSTS, submission=COSTS, deviation=st.floats(0, 3)
)
OUTLOOKS = st.builds(
    Outlook,
    position=st.integers(0, 100_000),
    running=st.integers(0, 1000),
    workers=st.integers(1, 100),
    pace=PACES,
    micro_batch=st.integers(1, 64),
    megapixels=st.floats(0.01, 50),
    inflow=st.builds(Inflow, per_s=st.floats(0, 1000), since_s=st.floats(0, 10_000)),
)
ROUNDING = 1 + 1e-9


def eta(outlook: Outlook) -> float:
    assert outlook.eta_s is not None
    return outlook.eta_s


@given(OUTLOOKS, st.integers(0, 1000), st.integers(0, 100))
def test_more_jobs_ahead_do_not_make_it_earlier(outlook: Outlook, ahead: int, running: int) -> None:
    more = replace(outlook, position=(outlook.position or 0) + ahead, running=outlook.running + running)
    assert eta(more) * ROUNDING >= eta(outlook)


@given(OUTLOOKS, st.integers(0, 10))
def test_more_workers_do_not_make_it_later(outlook: Outlook, workers: int) -> None:
    assert eta(replace(outlook, workers=outlook.workers + workers)) <= eta(outlook) * ROUNDING


@given(OUTLOOKS, st.floats(0, 50))
def test_larger_photos_do_not_make_it_earlier(outlook: Outlook, megapixels: float) -> None:
    assert eta(replace(outlook, megapixels=outlook.megapixels + megapixels)) * ROUNDING >= eta(outlook)


@given(OUTLOOKS)
def test_the_estimate_is_within_its_range(outlook: Outlook) -> None:
    low, high = outlook.eta_range_s or (0, 0)
    assert 0 < low <= eta(outlook) <= high < float("inf")


def test_submissions_delay_it_for_as_long_as_they_have_lasted() -> None:
    """Each takes 5 ms from the worker, 100 per second half of its time."""
    pace = Pace(batch=0, image=10, megapixel=0, submission=5, deviation=0)
    outlook = Outlook(position=999, running=0, workers=1, pace=pace, micro_batch=16)
    assert outlook.eta_s == pytest.approx(10.16)
    assert replace(outlook, inflow=Inflow(100, 4)).eta_s == pytest.approx(12.66)
    assert replace(outlook, inflow=Inflow(100, 60)).eta_s == pytest.approx(20.32)


def test_without_workers_or_a_pace_there_is_no_estimate() -> None:
    for unknown in (Outlook(1, 0, 0, Pace(1, 1, 1, 1, 0), 16), Outlook(1, 0, 1, None, 16)):
        assert (unknown.eta_s, unknown.eta_range_s) == (None, None)
