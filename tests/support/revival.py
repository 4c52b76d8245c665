"""A plugin: a shared service that dies fails only the test during which it died."""

from collections.abc import Iterator

import pytest
import shared_services


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Restart dead services after each test, so that the next test or a rerun finds them alive."""
    try:
        yield
    finally:
        dead = shared_services.revive()
        if dead:
            pytest.fail(f"ended while tests share it, now started again: {', '.join(dead)}", pytrace=False)
