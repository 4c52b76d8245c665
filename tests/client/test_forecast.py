"""`segue folder --by`: the time of day, and what it says."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from folders import Folder
from stack import Stack

from segue_client.folder.forecast import Forecast, deadline, is_time


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The local time zone, with daylight saving."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def local(*moment: int) -> datetime:
    return datetime(*moment).astimezone()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        ("09:00", (2026, 7, 1, 8, 59), "2026-07-01T09:00:00+02:00"),
        ("09:00", (2026, 7, 1, 9, 0), "2026-07-02T09:00:00+02:00"),
        ("9:00", (2026, 12, 31, 23, 0), "2027-01-01T09:00:00+01:00"),
        ("09:00", (2026, 10, 24, 22, 0), "2026-10-25T09:00:00+01:00"),  # the clock is set back in between
    ],
)
@pytest.mark.usefixtures("berlin")
def test_a_time_that_has_passed_means_tomorrow(text: str, now: tuple[int, ...], expected: str) -> None:
    assert deadline(text, local(*now)).isoformat() == expected


@pytest.mark.parametrize("text", ["9", "25:00", "09:60", "tomorrow"])
def test_what_is_no_time_of_day(text: str) -> None:
    assert not is_time(text)


NOW = local(2026, 7, 1, 8, 0)


def forecast(photos: int, minutes: float, workers: int = 1, ms_per_image: float | None = 100) -> Forecast:
    """200 images are waiting or running already."""
    lanes = {"interactive": {"pending": 90, "running": 10}, "bulk": {"pending": 100, "running": 0}}
    queue: dict[str, Any] = {"lanes": lanes, "workers": workers, "ms_per_image": ms_per_image}
    return Forecast.of(queue, photos, NOW + timedelta(minutes=minutes), NOW)


def test_whether_it_will_be_done_in_time() -> None:
    early = forecast(photos=1000, minutes=3)
    assert (early.done_at, early.in_time, early.workers_needed) == (NOW + timedelta(minutes=2), True, 1)
    assert early.line() == (
        "1200 images at the server's pace: done about 08:02, before 08:03; it has 1 live, 1 worker would be enough."
    )
    late = forecast(photos=1000, minutes=1.5)
    assert (late.in_time, late.workers_needed) == (False, 2)
    assert "after 08:01; it has 1 live, 2 workers would be enough." in late.line()
    assert forecast(photos=1000, minutes=1.5, workers=2).in_time


def test_a_day_is_named_if_it_is_another() -> None:
    assert "done about 2026-07-02 11:47, after 08:01" in forecast(photos=1_000_000, minutes=1).line()


def test_without_workers_or_a_pace_nothing_is_promised() -> None:
    idle = forecast(photos=1000, minutes=1, workers=0)
    assert (idle.done_at, idle.in_time, idle.workers_needed) == (None, None, 2)
    assert idle.line() == "No worker is running, so the photos will not be done by 08:01; 2 workers would be enough."
    unknown = forecast(photos=1000, minutes=1, ms_per_image=None)
    assert (unknown.in_time, unknown.workers_needed) == (None, None)
    assert "unknown" in unknown.line()


def test_the_command(tmp_path: Path, stack: Stack) -> None:
    folder = Folder(tmp_path, stack.port)
    folder.photo("a.jpg")
    assert folder.run()["forecast"] is None
    folder.photo("b.jpg")
    by = (datetime.now() + timedelta(minutes=90)).strftime("%H:%M")
    report = folder.run("--by", by)
    assert report["forecast"]["in_time"] is True
    assert report["forecast"]["images"] >= 1
    assert report["succeeded"] == 2
    assert folder.run("--by", by)["forecast"] is None  # nothing is left
    folder.photo("c.jpg")
    said = folder.outcome("--by", by)
    assert (said.returncode, "images at the server's pace: done about" in said.stderr) == (0, True)


def test_a_wrong_time_is_wrong_usage(tmp_path: Path, stack: Stack) -> None:
    folder = Folder(tmp_path, stack.port)
    done = folder.outcome("--by", "soon")
    assert (done.returncode, "HH:MM" in done.stderr) == (2, True)
