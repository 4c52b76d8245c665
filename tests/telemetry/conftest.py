"""Prometheus and promtool, from Debian's package `prometheus`."""

import os

import prometheus
import pytest


@pytest.fixture(scope="session")
def prometheus_programs() -> None:
    """Skip the test if Prometheus is not installed; in CI, fail."""
    missing = [name for name in ("prometheus", "promtool") if not prometheus.program(name)]
    if missing and os.environ.get("CI"):
        pytest.fail(f"not on the PATH: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not on the PATH: {', '.join(missing)}")
