"""A plugin: a shared service that dies fails the test in which it died, and no other."""

from collections.abc import Iterator

import keeping
import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Whichever test runs next, the same test again included, finds the service alive."""
    try:
        yield
    finally:
        dead = keeping.revive()
        if dead:
            pytest.fail(f"ended while tests share it, now started again: {', '.join(dead)}", pytrace=False)
