"""The queries by which KEDA scales workers on Kubernetes, in `promtool`."""

import json
import subprocess
from pathlib import Path

import manifests
import prometheus
import pytest

Sample = float | None

# Seconds in the queue, live workers, waiting and running jobs → the values of the two triggers. None: no such series.
SITUATIONS: dict[str, tuple[tuple[Sample, float, float, float], tuple[Sample, Sample]]] = {
    "no worker: ten planned ones would take 30 s": ((30, 0, 5, 0), (300, 5)),
    "three workers take 100 s": ((100, 3, 500, 16), (300, 516)),
    "ten workers take 30 s": ((30, 10, 500, 16), (300, 516)),
    "no worker, before the first image": ((None, 0, 7, 0), (None, 7)),
    "nothing to do": ((0, 2, 0, 0), (0, 0)),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_workers_scale_with_the_work_from_zero(prometheus_programs: None, tmp_path: Path, situation: str) -> None:
    (backlog, workers, pending, running), expected = SITUATIONS[situation]
    found = manifests.documents(manifests.rendered("--set", "worker.keda.enabled=true"))
    [scaled] = [one["spec"] for one in found if one["kind"] == "ScaledObject"]
    series = {
        "segue_workers{": workers,
        'segue_backlog_seconds{lane="bulk",': backlog,
        'segue_jobs_pending{lane="bulk",': pending,
        'segue_jobs_running{lane="bulk",': running,
    }
    inputs = [
        {"series": f'{name}instance="{instance}"}}', "values": f"{value}x4"}
        for name, value in series.items()
        for instance in ("web", "housekeeper")  # both report what Redis knows
        if value is not None
    ]
    queries = [
        {
            "expr": trigger["metadata"]["query"],
            "eval_time": "1m",
            "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
        }
        for trigger, value in zip(scaled["triggers"], expected, strict=True)
    ]
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"tests": [{"interval": "30s", "input_series": inputs, "promql_expr_test": queries}]}))
    command = [str(prometheus.program("promtool")), "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_any_work_starts_the_first_worker() -> None:
    found = manifests.documents(manifests.rendered("--set", "worker.keda.enabled=true"))
    [scaled] = [one["spec"] for one in found if one["kind"] == "ScaledObject"]
    assert scaled["minReplicaCount"] == 0
    assert [trigger["metadata"]["activationThreshold"] for trigger in scaled["triggers"]] == ["0", "0"]
    [worker] = [
        one["spec"] for one in found if one["metadata"]["name"] == "segue-worker" and one["kind"] == "Deployment"
    ]
    assert "replicas" not in worker  # an upgrade would reset what KEDA has set
