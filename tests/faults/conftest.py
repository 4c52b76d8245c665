"""One shared stack for most scenarios, and the table of their measurements."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import shared_services
from scene import QUICK, Begin, Row, Scene
from stack import Stack

MEASURED = "measured"


@pytest.fixture(scope="session")
def rough(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The processes of `make run`, with two workers and short intervals.

    They must all run again after each scenario.
    """
    with Stack(tmp_path_factory.mktemp("rough"), **QUICK) as stack, shared_services.watch(stack):
        yield stack


@pytest.fixture
def begin(request: pytest.FixtureRequest) -> Iterator[Begin]:
    """Return a function that opens a scene on a stack; its row is added to the table."""
    with ExitStack() as opened:
        scenes: list[Scene] = []

        def open_scene(stack: Stack) -> Scene:
            scenes.append(opened.enter_context(Scene(stack)))
            return scenes[-1]

        yield open_scene
        for scene in scenes:
            if scene.row:
                _note(request, scene.row)


@pytest.fixture
def scene(begin: Begin, rough: Stack) -> Scene:
    return begin(rough)


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[Row], None]:
    """Return a function that adds a row, for a scenario without a scene."""
    return lambda row: _note(request, row)


def _note(request: pytest.FixtureRequest, row: Row) -> None:
    """Add a row as plain values, because the report may come from another process."""
    request.node.user_properties.append((MEASURED, [row.in_flight, row.seconds]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [
        (report.nodeid.rpartition("::test_")[2].replace("_", " "), *value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "teardown"
        for name, value in report.user_properties
        if name == MEASURED
    ]
    lines = [f"| {scenario} | {in_flight} | {seconds:.1f} |" for scenario, in_flight, seconds in rows]
    for line in ["| scenario | jobs in flight | seconds to recover |", "|---|---|---|", *lines] if lines else []:
        terminalreporter.write_line(line)
