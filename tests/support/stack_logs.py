"""A plugin: a failed test that used a whole stack shows the ends of its programs' logs."""

from collections.abc import Generator
from typing import Any

import pytest
from stack import Stack

LINES = 30


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if report.failed:
        for stack in used_stacks(item):
            report.sections += [(f"{stack}: {name}", end) for name, end in stack.log_ends(LINES).items()]
    return report


def used_stacks(item: pytest.Item) -> list[Stack]:
    """The stacks among a test's fixtures; a scene has one."""
    found = (getattr(fixture, "stack", fixture) for fixture in getattr(item, "funcargs", {}).values())
    return list(dict.fromkeys(one for one in found if isinstance(one, Stack)))
