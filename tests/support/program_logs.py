"""A plugin: a failed test shows the ends of the logs of the programs that it used."""

import re
from collections import deque
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import shared_services
from services import Service
from stack import Stack

LINES = 30
ROUTINE = re.compile("INFO [a-z_.]+ (request_handled|job_accepted|job_ended) ")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if report.failed:
        for program in used_programs(item):
            report.sections += [(f"{program}: {file.name}", log_end(file)) for file in program.logs() if file.exists()]
    return report


def used_programs(item: pytest.Item) -> list[Service | Stack]:
    """The stacks and services among a test's fixtures, and the shared services; a scene has a stack."""
    fixtures = [getattr(fixture, "stack", fixture) for fixture in getattr(item, "funcargs", {}).values()]
    used = [one for one in fixtures if isinstance(one, Service | Stack)]
    shared = [one for one in shared_services.watched() if isinstance(one, Service)]
    return list(dict.fromkeys([*used, *shared]))


def log_end(file: Path) -> str:
    """The last lines of a log, without those of each request and job."""
    told = (line for line in file.read_text(errors="replace").splitlines() if not ROUTINE.search(line))
    return "\n".join(deque(told, LINES))
