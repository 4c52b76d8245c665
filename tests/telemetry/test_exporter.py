"""A process's own port for metrics."""

import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import services

PROGRAM = """
import sys
from pathlib import Path
from telemetry.exporter import Disks, start
print(start("web", "127.0.0.1", int(sys.argv[1]), [Disks({"data": Path(sys.argv[2]) / "not" / "yet"})]), flush=True)
sys.stdin.read()
"""


def started(port: int, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(port), str(folder)],
        cwd=services.ROOT, env=services.environment(PYTHONPATH=services.PYTHONPATH), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def scrape(port: int) -> dict[str, float]:
    """Return the samples of `/metrics`: name with labels → value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_two_processes_with_the_same_settings_take_two_ports(tmp_path: Path) -> None:
    first = services.free_ports(3)
    ports = []
    with started(first, tmp_path) as one, started(first, tmp_path) as other:
        for process in (one, other):
            assert process.stdout
            ports.append(int(process.stdout.readline()))
        samples = scrape(ports[0])
        for process in (one, other):
            process.communicate("", timeout=30)
    assert sorted(ports) == [first, first + 1]
    assert samples['segue_process_info{role="web"}'] == 1
    assert samples["process_resident_memory_bytes"] > 1e6
    assert samples["process_cpu_seconds_total"] > 0
    assert 0 < samples['segue_disk_free_bytes{disk="data"}'] <= samples['segue_disk_size_bytes{disk="data"}']


def test_without_a_port_nothing_listens(tmp_path: Path) -> None:
    with started(0, tmp_path) as process:
        assert process.communicate("", timeout=30)[0].strip() == "None"


def test_a_process_without_a_free_port_works_without_metrics(tmp_path: Path) -> None:
    port = services.free_ports(1)
    with started(port, tmp_path) as process:
        assert process.stdout
        assert int(process.stdout.readline()) == port
        process.communicate("", timeout=30)
    code = PROGRAM.replace("start(", "start.__globals__.update(PORTS=1) or start(")
    with socket.create_server(("127.0.0.1", port)):
        done = subprocess.run(
            [sys.executable, "-c", code, str(port), str(tmp_path)], cwd=services.ROOT, input="",
            env=services.environment(PYTHONPATH=services.PYTHONPATH), capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert done.stdout.strip() == "None"
    assert "metrics_not_served" in done.stderr
