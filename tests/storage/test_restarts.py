"""Redis and Valkey with our users: a killed server has all its keys after a restart."""

import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import redis
import services
from specs import submit

from storage.connection import connect
from storage.queue import functions
from storage.roles.credentials import Credentials, load_or_create, write
from storage.roles.roles import Role, redis_acl
from storage.settings import Settings

JOBS = 40


@pytest.fixture
def credentials(tmp_path: Path) -> Mapping[Role, Credentials]:
    return load_or_create(tmp_path / "secrets")


class Restarting:
    """A Redis server that keeps its files in one folder, with the ACL file of `make run`."""

    def __init__(self, folder: Path, credentials: Mapping[Role, Credentials], program: Path) -> None:
        acl = write(folder / "redis.acl", redis_acl({role: own.redis_password for role, own in credentials.items()}))
        port = services.free_ports(1)
        self.host = f"127.0.0.1:{port}"
        self.operator_url = credentials[Role.OPERATOR].redis_url(Role.OPERATOR, self.host)
        self._folder = folder
        self._settings = {"REDIS_ACL": acl, "REDIS_SERVER": program, "REDIS_URL": self.operator_url}
        self.service = services.start_redis(folder, port, **self._settings)
        self.wait_for_functions()

    def wait_for_functions(self) -> None:
        """Wait until the script that starts the server has loaded the functions."""
        with redis.Redis.from_url(self.operator_url) as operator:
            services.wait_until(lambda: self._answers() and functions.is_loaded(operator), "the functions")

    def kill_and_start(self, with_its_files: bool = True) -> None:
        self.service.process.kill()
        self.service.process.wait()
        if not with_its_files:
            shutil.rmtree(self._folder / "redis")
        self.service = services.start_redis(self._folder, self.service.port, **self._settings)
        services.wait_until(self._answers, "Redis")  # closed connections occupy its port for a while

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.service.port)) == 0


@pytest.fixture
def server(tmp_path: Path, credentials: Mapping[Role, Credentials], redis_program: Path) -> Iterator[Restarting]:
    made = Restarting(tmp_path, credentials, redis_program)
    yield made
    made.service.stop()


def everything(client: "redis.Redis") -> dict[bytes, bytes | None]:
    return {key: client.dump(key) for key in client.scan_iter()}


def test_every_key_is_there_after_a_restart(
    settings: Settings, server: Restarting, credentials: Mapping[Role, Credentials]
) -> None:
    """The keys are written as programs write them: by functions, transactions and commands."""
    web, worker, housekeeper = (
        connect(settings.replace(redis_url=credentials[role].redis_url(role, server.host)))
        for role in (Role.WEB, Role.WORKER, Role.HOUSEKEEPER)
    )
    housekeeper.jobs.epoch.mark_intact()
    for number in range(JOBS):
        submit(web, key_hash=str(number), fingerprint="f")
    web.tickets.send(3)
    leased = worker.jobs.claim("t", "drainer", "worker")
    worker.jobs.workers.beat("worker", 10_000)
    with redis.Redis.from_url(credentials[Role.OPERATOR].redis_url(Role.OPERATOR, server.host)) as operator:
        before = everything(operator)
        assert len(before) > 2 * JOBS
        server.kill_and_start()
        assert everything(operator) == before
    assert worker.jobs.queue().pending == web.jobs.queue().pending
    assert worker.jobs.release("t", [job.id for job in leased]) == len(leased)
    for connection in (web, worker, housekeeper):
        connection.jobs.client.close()


def test_a_redis_that_lost_its_disk_gets_its_functions_again(
    settings: Settings, server: Restarting, credentials: Mapping[Role, Credentials]
) -> None:
    """No program may load functions, so the script that starts the server loads them."""
    worker = connect(settings.replace(redis_url=credentials[Role.WORKER].redis_url(Role.WORKER, server.host)))
    server.kill_and_start(with_its_files=False)
    server.wait_for_functions()
    assert worker.jobs.tickets_missing() == 0
    worker.jobs.client.close()


def test_without_a_password_every_command_is_refused(server: Restarting) -> None:
    port = server.service.port
    for url in (
        f"redis://127.0.0.1:{port}",
        f"redis://default:@127.0.0.1:{port}",
        f"redis://default:x@127.0.0.1:{port}",
    ):
        with redis.Redis.from_url(url) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.get("segue:open")
