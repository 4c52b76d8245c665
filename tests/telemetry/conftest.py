"""Prometheus and promtool, from Debian's package `prometheus`."""

import prometheus
import pytest
from required import lacks


@pytest.fixture(scope="session")
def prometheus_programs() -> None:
    """Skip the test if Prometheus is not installed; in CI, fail."""
    missing = [name for name in ("prometheus", "promtool") if not prometheus.program(name)]
    if missing:
        lacks(f"not on the PATH: {', '.join(missing)}")
