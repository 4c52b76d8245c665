"""A plugin: the summary of a run.

It lists the minutes per part, the slowest tests, and the tests that passed only in a rerun.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

LISTED = 10
LONG_S = 60  # total test time above which the slowest tests are listed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    minutes: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for report in _reports(terminalreporter):
        minutes[part_of(report.nodeid)] += report.duration / 60  # type: ignore[assignment]
        seconds[report.nodeid] += report.duration  # type: ignore[assignment]
    if not seconds:
        return
    terminalreporter.write_line("minutes: " + ", ".join(f"{part} {spent:.1f}" for part, spent in minutes.items()))
    for nodeid, spent in seconds.most_common(LISTED) if seconds.total() > LONG_S else []:
        terminalreporter.write_line(f"{spent:6.1f} s  {nodeid}")
    _list_flaky(terminalreporter)


def _reports(reporter: pytest.TerminalReporter) -> Iterator[pytest.TestReport]:
    for reports in reporter.stats.values():
        yield from (report for report in reports if isinstance(report, pytest.TestReport))


def part_of(nodeid: str) -> str:
    """The folder below tests/, which has the name of the package under test."""
    return Path(nodeid.partition("::")[0]).parent.name or "tests"


def _list_flaky(reporter: pytest.TerminalReporter) -> None:
    """List the tests that passed in a rerun: each is a defect of the test or of the code."""
    broken = {report.nodeid for name in ("failed", "error") for report in reporter.stats.get(name, [])}
    flaky = sorted({report.nodeid for report in reporter.stats.get("rerun", [])} - broken)
    if not flaky:
        return
    reporter.write_sep("!", f"FLAKY: {len(flaky)} of the tests failed and passed when run again", red=True, bold=True)
    for nodeid in flaky:
        reporter.write_line(f"flaky: {nodeid}", red=True)
    for report in reporter.stats["rerun"]:
        if report.nodeid in flaky:
            reporter.write_sep("-", report.nodeid)
            reporter.write_line(report.longreprtext[-3000:])
