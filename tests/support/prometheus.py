"""A real Prometheus that scrapes ports of this machine."""

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import services

SCRAPE_S = 1
CONFIG = """
global: {{scrape_interval: {scrape_s}s, scrape_timeout: {scrape_s}s, evaluation_interval: {scrape_s}s}}
rule_files: [{rules}]
scrape_configs:
  - {{job_name: segue, static_configs: [{{targets: {targets}}}]}}
"""


def program(name: str) -> str | None:
    """Return the path of `prometheus` or `promtool` (Debian's package `prometheus`)."""
    return shutil.which(name)


class Prometheus:
    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        config, self._port = folder / "prometheus.yml", services.free_ports(1)
        rules = services.ROOT / "deploy" / "prometheus" / "alerts.yml"
        targets = json.dumps([f"127.0.0.1:{port}" for port in ports])
        config.write_text(CONFIG.format(scrape_s=SCRAPE_S, rules=rules, targets=targets))
        command = [
            program("prometheus") or "", f"--config.file={config}", f"--storage.tsdb.path={folder}/tsdb",
            f"--web.listen-address=127.0.0.1:{self._port}", "--log.level=warn",
        ]  # fmt: skip
        self.service = services.start(command, services.environment(), self._port, folder / "prometheus.log")
        self._http, self._ports = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=30), ports

    def __enter__(self) -> "Prometheus":
        services.wait_until(lambda: self._http.get("/-/ready").status_code == 200, "Prometheus")  # 503 until then
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self.service.stop()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an instant query. Raises AssertionError for an invalid one."""
        answer = self._http.get("/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        return list(answer.json()["data"]["result"])

    def value(self, expression: str) -> float | None:
        """Return the value of the only sample; None without one."""
        samples = self.query(expression)
        assert len(samples) < 2, f"{expression}: {samples}"
        return float(samples[0]["value"][1]) if samples else None

    def wait_for_scrapes(self) -> None:
        """Return when Prometheus has scraped every port that listens now, after this call.

        A slow machine misses a scrape now and then: that target is down until the next one, and its samples are gone.
        """
        now, listening = time.time(), {f"127.0.0.1:{port}" for port in self._ports if not services.is_free(port)}

        def scraped() -> bool:
            up = self.query(f"timestamp(up) > {now} and up == 1")
            return listening <= {sample["metric"]["instance"] for sample in up}

        services.wait_until(scraped, f"a scrape of {sorted(listening)}")
