"""How the suite runs: in parallel, tests marked `alone` last, and reruns of failed tests."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import services

INI = """
[pytest]
addopts =
    -p xdist.plugin -p pytest_rerunfailures -p databases -p distribution -p program_logs
    -p revival -p summary
    --strict-markers --import-mode=importlib
markers = alone: needs the whole machine
filterwarnings = error
"""

SHARED = """
import os, pytest, redis
from shared_services import watch
from services import start_redis

@pytest.fixture(scope="session")
def server(tmp_path_factory):
    started = start_redis(tmp_path_factory.mktemp("redis"))
    with watch(started):
        yield started
    started.stop()

def ping(server):
    return redis.Redis(port=server.port).ping()

def test_it_ends(server, already="{already}"):
    if not os.path.exists(already):
        open(already, "w").close()
        server.process.kill()
        server.process.wait()
    assert ping(server)

def test_the_next(server):
    assert ping(server)
"""

LEFT_OPEN = """
from sqlalchemy import create_engine

engine = create_engine("sqlite:///{database}")

def test_it_leaves_a_connection_open():
    with engine.connect():
        pass
    assert engine.pool.checkedin() == 1

def test_the_next():
    assert engine.pool.checkedin() == 0
"""

DISPOSED = """
import sqlite3
import pytest
from sqlalchemy import create_engine

engine = create_engine("sqlite:///{database}")
held = []

def test_it_disposes_of_an_engine_while_a_thread_holds_a_connection():
    connection = engine.connect()
    held.extend([connection, connection.connection.dbapi_connection])
    engine.dispose()

def test_the_thread_returns_it():
    held[0].close()
    held[1].execute("SELECT 1")

def test_the_next():
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        held[1].execute("SELECT 1")
"""

TIMED = """
import os, time, pytest

def note(what):
    with open("{log}", "a") as log:
        log.write(f"{{os.getpid()}} {{what}}\\n")

{mark}
@pytest.mark.parametrize("number", range(3))
def test_it(number):
    note("begin {name}")
    time.sleep(0.2)
    note("end {name}")
"""


@pytest.fixture
def run(tmp_path: Path):
    """Return a function that runs pytest on the given files and returns its output."""

    def run_pytest(*options: str, **files: str) -> str:
        (tmp_path / "pytest.ini").write_text(INI)
        for name, text in files.items():
            (tmp_path / f"test_{name}.py").write_text(text)
        env = services.environment(PYTHONPATH=f"{services.ROOT / 'tests' / 'support'}{os.pathsep}{services.ROOT}")
        for name in [name for name in env if name.startswith("PYTEST_")]:
            del env[name]
        env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", *options]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120)
        return done.stdout + done.stderr

    return run_pytest


def test_a_dead_shared_service_is_restarted_for_the_rerun_and_the_test_is_listed(run, tmp_path: Path) -> None:
    output = run("--reruns", "1", shared=SHARED.format(already=tmp_path / "already"))
    assert "2 passed, 2 rerun" in output, output  # the test's call and its teardown
    assert "FLAKY: 1 of the tests" in output
    assert "flaky: test_shared.py::test_it_ends" in output


def test_only_the_test_in_which_a_shared_service_died_fails(run, tmp_path: Path) -> None:
    text = SHARED.format(already=tmp_path / "already").replace(
        "    assert ping(server)\n\ndef test_the", "\ndef test_the"
    )
    output = run(shared=text)
    assert re.search(r"redis\S* on port \d+", output), output
    assert "2 passed, 1 error" in output


def test_a_failed_test_shows_the_ends_of_its_programs_logs(run, tmp_path: Path) -> None:
    text = SHARED.format(already=tmp_path / "already").replace("assert ping(server)", "assert not ping(server)")
    output = run("-k", "next", shared=text)
    assert re.search(r"redis\S* on port \d+: redis.log -", output), output
    assert "Server initialized" in output


def test_tests_marked_alone_run_after_all_others_and_one_at_a_time(run, tmp_path: Path) -> None:
    log = tmp_path / "log"
    files = {
        name: TIMED.format(log=log, name=name, mark="@pytest.mark.alone" if "alone" in name else "")
        for name in ("alone_1", "beside_1", "beside_2", "beside_3", "alone_2")
    }
    output = run("-n", "3", "--dist", "loadscope", **files)
    assert "15 passed" in output, output
    lines = [line.split() for line in log.read_text().splitlines()]
    beside, alone = lines[:18], lines[18:]
    assert {name[:6] for _, _, name in beside} == {"beside"}
    assert len({pid for pid, _, _ in beside}) > 1
    assert [what for _, what, _ in alone] == ["begin", "end"] * 6
    assert len({pid for pid, _, _ in alone}) == 1


def test_only_tests_marked_alone(run, tmp_path: Path) -> None:
    mark = "@pytest.mark.alone"
    files = {name: TIMED.format(log=tmp_path / "log", name=name, mark=mark) for name in ("a", "b", "c")}
    assert "9 passed" in run("-n", "3", "--dist", "loadscope", **files)


def test_a_worker_that_crashes_loses_none_of_the_other_tests(run, tmp_path: Path) -> None:
    crash = "import os, time\ndef test_crash():\n    time.sleep(0.5)\n    os._exit(1)\n"
    files = {
        name: TIMED.format(log=tmp_path / "log", name=name, mark="@pytest.mark.alone" if name == "alone" else "")
        for name in ("alone", "beside_1", "beside_2")
    }
    output = run("-n", "2", "--dist", "loadscope", "--max-worker-restart=1", crash=crash, **files)
    assert "crashed while running 'test_crash.py::test_crash'" in output
    assert "9 passed" in output, output


def test_no_sql_connection_outlives_its_test(run, tmp_path: Path) -> None:
    output = run(left_open=LEFT_OPEN.format(database=tmp_path / "left.db"))
    assert "2 passed" in output, output


def test_no_sql_connection_that_a_thread_holds_outlives_the_next_test(run, tmp_path: Path) -> None:
    output = run(disposed=DISPOSED.format(database=tmp_path / "held.db"))
    assert "3 passed" in output, output


def test_no_two_processes_get_the_same_ports() -> None:
    code = "import services\nprint(*(services.free_ports(4) for _ in range(40)), flush=True)\ninput()"
    env = services.environment(PYTHONPATH=f"{services.ROOT / 'tests' / 'support'}{os.pathsep}{services.ROOT}")
    command = [sys.executable, "-c", code]
    processes = [
        subprocess.Popen(command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        given = [line.split() for line in pool.map(lambda process: process.stdout.readline(), processes)]
    for process in processes:
        process.communicate("\n")
    ports = [int(port) + i for line in given for port in line for i in range(4)]
    assert len(ports) == 4 * 40 * 4
    assert len(set(ports)) == len(ports)
