"""What one attacker costs another client: part of `make bench-web`.

A victim submits a photo, reads its status, and fetches the mask and the overlay of an ended job, during
each attack and, without one, before each attack. Attacker and victim have a key and an address each.
Prints the victim's p99 of each step, its ratio to the p99 of all rounds without an attack, and the peak
memory of the web process and of the worker's child. The stack is the one of `make run`, with the default
limits; the attacker runs on the same cores, at the lowest priority. Words on the command line select the
attacks whose names contain one of them.
"""

import http.client
import json
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import damage
import pictures
import services
from attacks import ATTACKS, Target, worst_photo
from pydantic import SecretStr
from stack import Stack, children

from storage.connection import Storage, connect
from storage.records.api_key import Scope
from storage.settings import Settings

ROUNDS, PEACEFUL_ROUNDS, WARM_S, GIVE_UP_S = 400, 100, 3, 240
PAUSE_S = 0.05  # keeps the victim below its own limit of submits
VICTIM = ("127.0.0.2", 0)  # another address than the attacker's
PHOTO = pictures.jpeg(640, 480)
STEPS = ("submit", "status", "mask", "overlay")
Times = dict[str, list[float]]


@dataclass(frozen=True)
class Measured:
    """The milliseconds of each step, the rounds that failed, and the peak MiB of each process."""

    times: Times
    failures: int
    peaks: dict[str, float]


class Client:
    """A client with its own key and address, on one connection, as browsers and our client keep one.

    Raises RuntimeError if the server refuses a request.
    """

    def __init__(self, port: int, key: str) -> None:
        self._key = key
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=VICTIM)

    def ask(self, method: str, path: str, body: bytes = b"", expected: int = 200, prefer: str = "") -> bytes:
        headers = {"Authorization": f"Bearer {self._key}"}
        headers |= {"Content-Type": "image/jpeg"} if body else {}
        headers |= {"Prefer": prefer} if prefer else {}
        try:
            self._connection.request(method, path, body or None, headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next request opens it again
            raise
        if answer.status != expected:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:200]!r}")
        return content

    def submit(self, content: bytes = PHOTO) -> str:
        return str(json.loads(self.ask("POST", "/v1/jobs", content, 202))["id"])

    def finish(self, job_id: str) -> None:
        status = "queued"
        while status in ("queued", "running"):
            status = json.loads(self.ask("GET", f"/v1/jobs/{job_id}", prefer="wait=10"))["status"]
        if status != "succeeded":
            raise RuntimeError(f"{job_id} ended as {status}")


def main(words: list[str]) -> None:
    chosen = {name: attack for name, attack in ATTACKS.items() if any(word in name for word in words or [""])}
    with tempfile.TemporaryDirectory() as folder, stack(Path(folder)) as (made, connection):
        victim = Client(made.port, new_key(connection, "victim"))
        attacker = Client(made.port, new_key(connection, "attacker"))
        job_id = attacker.submit(worst_photo())
        attacker.finish(job_id)
        done = victim.submit()
        victim.finish(done)
        peaceful: list[Measured] = []
        attacked: dict[str, Measured] = {}
        for place, (name, attack) in enumerate(chosen.items(), 3):
            print(f"{name} ...", file=sys.stderr, flush=True)
            # An earlier attack has used up the limits of its key and address.
            target = Target(made.port, f"127.0.0.{place}", new_key(connection, "attacker"), job_id)
            peaceful.append(measured(made, victim, done, PEACEFUL_ROUNDS))
            with attacking(attack, target):
                time.sleep(WARM_S)
                attacked[name] = measured(made, victim, done, ROUNDS)
        report({"no attack": joined(peaceful), **attacked})


@contextmanager
def stack(folder: Path) -> Iterator[tuple[Stack, Storage]]:
    connections = Settings.model_fields["limit_connections"].default  # the tests' environment has another
    with Stack(folder, workers=1, REQUIRE_KEYS=1, LIMIT_CONNECTIONS=connections, LOG_LEVEL="ERROR") as made:
        sql_url = SecretStr(made.environment()["SQL_URL"])
        connection = connect(made.settings().replace(sql_url=sql_url))
        yield made, connection
        connection.close()


def new_key(connection: Storage, tenant: str) -> str:
    return connection.api_keys.create(tenant, frozenset((Scope.SUBMIT, Scope.READ)))[1]


@contextmanager
def attacking(attack: Callable[[Target], None], target: Target) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=attack, args=(target,), daemon=True)
    process.start()
    # A real attacker runs on another machine, so its own work takes no CPU time from the server.
    os.setpriority(os.PRIO_PROCESS, process.pid or 0, 19)
    yield
    if not process.is_alive():
        raise RuntimeError("the attack ended before the measurement did")
    process.kill()
    process.join()


def measured(made: Stack, victim: Client, done: str, rounds: int) -> Measured:
    """Measure `rounds` rounds of the victim, or fewer if they take long. `done`: one of its jobs that has succeeded."""
    watched = {"web": web_process(made), "worker": damage.pool_children(made)[0]}
    for pid in watched.values():
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # reset the peak
    times: Times = {step: [] for step in STEPS}
    give_up = time.monotonic() + GIVE_UP_S
    previous, failures = done, 0
    while len(times["overlay"]) < rounds and time.monotonic() < give_up:
        try:
            previous = one_round(victim, previous, times)
        except (OSError, http.client.HTTPException, RuntimeError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            failures += 1
            time.sleep(0.5)
        time.sleep(PAUSE_S)
    return Measured(times, failures, {name: peak_mib(pid) for name, pid in watched.items()})


def joined(parts: list[Measured]) -> Measured:
    return Measured(
        {step: [ms for part in parts for ms in part.times[step]] for step in STEPS},
        sum(part.failures for part in parts),
        {name: max(part.peaks[name] for part in parts) for name in parts[0].peaks},
    )


def one_round(victim: Client, previous: str, times: Times) -> str:
    """Run all steps once. `previous`: a job that has succeeded. Returns the id of another one."""
    mask = f"/v1/jobs/{previous}/mask"
    job_id = str(timed(times["submit"], victim.submit))
    timed(times["status"], lambda: victim.ask("GET", f"/v1/jobs/{job_id}"))
    timed(times["mask"], lambda: victim.ask("GET", mask))
    timed(times["overlay"], lambda: victim.ask("GET", f"{mask}?format=overlay"))
    victim.finish(job_id)
    return job_id


def timed(times: list[float], act: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    answer = act()
    times.append((time.perf_counter() - started) * 1000)
    return answer


def web_process(made: Stack) -> int:
    [arbiter] = made.pids(damage.WEB)
    return children(arbiter)[0]


def peak_mib(pid: int) -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def report(found: dict[str, Measured]) -> None:
    """Print a line for each of `found`; the first is what the others are compared with."""
    print(f"{'':42} {'p99 ms, ratio to no attack':^58} {'peak MiB':>16}")
    print(f"{'':42}" + "".join(f"{step:>15}" for step in STEPS) + f"{'web':>8}{'worker':>8}{'rounds':>8}{'failed':>8}")
    peace = {step: p99(times) for step, times in next(iter(found.values())).times.items()}
    for name, one in found.items():
        cells = "".join(f"{p99(one.times[step]):8.0f} {p99(one.times[step]) / peace[step]:4.1f} x" for step in STEPS)
        memory = "".join(f"{mib:8.0f}" for mib in one.peaks.values())
        print(f"{name:42}{cells}{memory}{len(one.times['overlay']):8}{one.failures:8}")
    print(f"limits of docker-compose.yml: {limits()}")


def p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98] if len(times) > 1 else float("inf")


def limits() -> str:
    text = (services.ROOT / "docker-compose.yml").read_text()
    return ", ".join(re.findall(r"mem_limit: (\w+)", text))


if __name__ == "__main__":
    main(sys.argv[1:])
