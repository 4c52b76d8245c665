"""The heap of a process whose threads process images."""

import subprocess
import sys
from pathlib import Path

import services

FAULTS = """
import resource, threading
from storage.heap import configure_heap

configure_heap()

def process(rounds):
    for _ in range(rounds):
        blocks = [bytearray(b"x" * 1024 * 1024) for _ in range(4)]
        del blocks

def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    process(rounds)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def run():
    process(3)
    print(faults(100))

thread = threading.Thread(target=run)
thread.start()
thread.join()
"""

LARGE = """
import re
from pathlib import Path
from storage.heap import configure_heap

configure_heap()

def resident_mib():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

before = resident_mib()
for _ in range(3):
    blocks = [bytearray(b"x") * (16 * 1024 * 1024) for _ in range(4)]
    assert resident_mib() > before + 60
    del blocks
print(resident_mib() - before)
"""


def printed(script: str) -> float:
    env = services.environment(PYTHONPATH=services.PYTHONPATH)
    command = [sys.executable, "-c", script]
    return float(subprocess.run(command, env=env, cwd=Path("/"), check=True, capture_output=True, text=True).stdout)


def test_threads_reuse_the_memory_of_small_images() -> None:
    assert printed(FAULTS) < 1000  # 100 rounds of 4 MiB are 100,000 pages


def test_the_memory_of_large_images_is_returned() -> None:
    assert printed(LARGE) < 8
