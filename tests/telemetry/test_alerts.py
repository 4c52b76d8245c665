"""Each alert fires in its situation, and only then: the rules run in `promtool`."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import prometheus
import pytest
import yaml
from services import ROOT

RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}
INTERVAL_S, AT_S = 15, 40 * 60
COUNT = AT_S // INTERVAL_S + 8
GIB = 2**30

# Series → value at the start, and change per INTERVAL_S. Two processes report what Redis knows.
Series = dict[str, tuple[float, float]]
HEALTHY: Series = {
    **{
        f'{name}instance="{instance}"}}': values
        for instance in ("web", "housekeeper")
        for name, values in {
            'segue_jobs_ended_total{status="succeeded",': (500, 150),
            'segue_jobs_ended_total{status="failed",': (10, 1),
            'segue_jobs_accepted_total{source="upload",': (510, 151),
            'segue_jobs_failed_total{code="image_decode_failed",': (9, 1),
            'segue_jobs_failed_total{code="internal",': (1, 0),
            'segue_oldest_pending_seconds{lane="bulk",': (900, 0),
            'segue_oldest_pending_seconds{lane="interactive",': (1, 0),
            'segue_backlog_seconds{lane="bulk",': (900, 0),
            "segue_sweep_age_seconds{": (1, 0),
            "segue_redis_up{": (1, 0),
            "segue_redis_memory_bytes{": (0.8 * GIB, 0),
            "segue_redis_memory_limit_bytes{": (GIB, 0),
            'segue_input_drift{feature="brightness",': (0, 0),
            'segue_input_drift{feature="warmth",': (0, 0),
            "segue_rollout_rolled_back_timestamp_seconds{": (0, 0),
            'segue_disk_free_bytes{disk="data",': (20 * GIB, 0),
            'segue_disk_size_bytes{disk="data",': (100 * GIB, 0),
        }.items()
    },
    'segue_requests_total{instance="web",status="200"}': (0, 300),
    'segue_requests_total{instance="web",status="503"}': (0, 2),
    'segue_requests_total{instance="web",status="429"}': (0, 300),
}


def changed(**changes: tuple[float, float]) -> Series:
    """HEALTHY, with all series changed whose names contain one of these words."""
    words = {word.replace("__", '="'): values for word, values in changes.items()}
    return {
        name: next((values for word, values in words.items() if word in name), before)
        for name, before in HEALTHY.items()
    }


NOTHING_ENDS = {"ended_total": (500.0, 0.0), "accepted": (510.0, 1.0), "failed_total": (1.0, 0.0)}
SITUATIONS: dict[str, tuple[Series, str | None]] = {
    "all is well": (HEALTHY, None),
    "nothing arrives": (changed(accepted=(510, 0), ended_total=(510, 0), oldest=(0, 0), backlog=(0, 0)), None),
    "nothing ends": (changed(**NOTHING_ENDS, backlog=(60, 0)), "NothingMoves"),
    "the first job has just arrived": (changed(**NOTHING_ENDS, backlog=(1, 0), oldest=(1, 0)), None),
    "twice as much arrives": (changed(accepted=(510, 302)), "BacklogGrows"),
    "twice as much arrives, at a short queue": (changed(accepted=(510, 302), backlog=(10, 0)), None),
    "a large queue drains": (changed(accepted=(510, 10)), None),
    "jobs fail": (changed(internal=(1, 20)), "JobsFail"),
    "some jobs fail": (changed(internal=(1, 1)), None),
    "damaged photos fail": (changed(image_decode=(1, 100)), None),
    "requests fail": (changed(status__5=(0, 50)), "RequestsFail"),
    "nobody sweeps": (changed(sweep=(0, 15)), "HousekeeperDead"),
    "nobody has swept": (changed(sweep=(float("inf"), 0)), "HousekeeperDead"),
    "Redis is down": (changed(redis_up=(0, 0)), "RedisDown"),
    "Redis is nearly full": (changed(memory_bytes=(0.9 * GIB, 0)), "RedisNearlyFull"),
    "Redis has no limit": (changed(memory_limit=(0, 0)), None),
    "the disk is nearly full": (changed(disk_free=(9 * GIB, 0)), "DiskNearlyFull"),
    "photos are darker": (changed(feature__brightness=(1, 0)), "InputsDrift"),
    "a version was rolled back": (changed(rolled_back=(60, 0)), "RolledBack"),
    "nothing is scraped": ({'segue_requests_total{instance="worker"}': (0, 0)}, "NoMetrics"),
}


def values(start: float, step: float) -> str:
    return " ".join(["Inf"] * COUNT) if start == float("inf") else f"{start:g}+{step:g}x{COUNT}"


def firing(alert: str) -> list[dict[str, Any]]:
    rule = ALERTS[alert]
    labels = {**rule["labels"], **({"disk": "data"} if alert == "DiskNearlyFull" else {})}
    return [{"exp_labels": labels, "exp_annotations": rule["annotations"]}]


def test_every_alert_fires_in_a_situation() -> None:
    assert {alert for _, alert in SITUATIONS.values() if alert} == ALERTS.keys()


@pytest.mark.parametrize("situation", SITUATIONS)
def test_only_the_right_alert_fires(prometheus_programs: None, tmp_path: Path, situation: str) -> None:
    series, expected = SITUATIONS[situation]
    document = {
        "rule_files": [str(RULES)],
        "tests": [
            {
                "interval": f"{INTERVAL_S}s",
                "input_series": [{"series": name, "values": values(*numbers)} for name, numbers in series.items()],
                "alert_rule_test": [
                    {
                        "eval_time": f"{AT_S}s",
                        "alertname": alert,
                        "exp_alerts": firing(alert) if alert == expected else [],
                    }
                    for alert in ALERTS
                ],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(json.dumps(document))  # JSON is YAML
    promtool = prometheus.program("promtool")
    assert promtool
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_configuration(prometheus_programs: None, tmp_path: Path) -> None:
    text = (RULES.parent / "prometheus.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/alerts.yml", str(RULES)))
    command = [str(prometheus.program("promtool")), "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout + done.stderr


def test_every_alert_has_a_runbook() -> None:
    for alert, rule in ALERTS.items():
        document, _, anchor = rule["annotations"]["runbook"].partition("#")
        headings = re.findall(r"^### (\w+)$", (ROOT / document).read_text(), re.MULTILINE)
        assert anchor == alert.lower()
        assert alert in headings
