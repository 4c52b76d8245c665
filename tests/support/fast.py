"""A plugin: marks a test `fast` if it starts no service and its module is not a slow one."""

import json

import distribution
import pytest

SERVICES = frozenset(
    {"settings", "stack", "scraped", "rough", "postgres", "database", "redis_program", "shapes_version", "s3_host"}
)
FOLDERS = frozenset({"compose", "e2e", "faults", "page", "suite"})  # start containers, stacks …
LONGEST_S = 20


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    seconds = json.loads(distribution.DURATIONS.read_text())
    for item in items:
        slow = seconds.get(distribution.module_of(item.nodeid), 0) > LONGEST_S or distribution.is_alone(item)
        if not slow and item.path.parent.name not in FOLDERS and SERVICES.isdisjoint(item.fixturenames):  # type: ignore[attr-defined]
            item.add_marker("fast")
