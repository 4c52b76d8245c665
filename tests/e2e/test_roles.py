"""Every process of a running stack has its own role and only its own secrets."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pictures
import pytest
import redis
import services
from stack import Stack, children, command_line

from storage.objects import UPLOADS, MinioObjects
from storage.problems import Unavailable
from storage.roles.roles import PROGRAMS, Role
from storage.settings import Settings


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """With a process of every role."""
    with Stack(tmp_path_factory.mktemp("roles"), workers=1, TRAINERS=1) as made:
        yield made


def test_redis_knows_each_process_by_its_role(stack: Stack) -> None:
    assert stack.finished(stack.submit(pictures.jpeg()))["status"] == "succeeded"
    with redis.Redis.from_url(stack.settings().redis_url, decode_responses=True) as client:

        def users() -> set[str]:
            return {entry["user"] for entry in client.client_list()}

        services.wait_until(lambda: users() >= set(Role), "a connection of each role")  # a trainer starts slowly
        assert users() == set(Role)


@pytest.mark.parametrize("role", PROGRAMS)
def test_no_process_holds_anothers_secrets(stack: Stack, role: Role) -> None:
    """Checks the environment and the files that the environment names."""
    queues = {Role.WORKER: "-Q segment", Role.HOUSEKEEPER: "-Q control", Role.TRAINER: "-Q training"}
    program = queues.get(role, "gunicorn")
    for pid in stack.pids(program):
        for one in (pid, *children(pid)):
            environ_text = Path(f"/proc/{one}/environ").read_text()
            assert f"secrets/{role}/redis_url" in environ_text
            others = [other for other in Role if other is not role and f"secrets/{other}/" in environ_text]
            assert not others
            assert not [secret for secret in secrets(stack) if secret in environ_text]


def test_a_trainer_may_do_a_run(stack: Stack) -> None:
    run = stack.http.post("/v1/training/runs", json={"kind": "score"}).json()
    services.wait_until(lambda: stack.http.get(run["links"]["self"]).json()["finished_at"], "the run's end")
    assert stack.http.get(run["links"]["self"]).json()["status"] == "succeeded"
    assert not stack.refusals()


def test_no_secret_is_in_a_command_line_or_a_configuration(stack: Stack) -> None:
    config = (stack.var / "supervisord.conf").read_text()
    commands = [command_line(int(process.name)) for process in Path("/proc").glob("[0-9]*")]
    assert not [secret for secret in secrets(stack) for text in (config, *commands) if secret in text]


def test_the_supervisor_passes_on_no_credentials(stack: Stack) -> None:
    supervisor = int((stack.var / "supervisord.pid").read_text())
    environ_text = Path(f"/proc/{supervisor}/environ").read_text()
    assert "secrets/" not in environ_text
    assert "S3_SECRET_KEY" not in environ_text


def test_no_other_user_can_read_the_secrets(stack: Stack) -> None:
    files = [file for file in (stack.var / "secrets").rglob("*") if file.is_file()]
    assert len(files) > 8
    folders = {file.parent for file in files}
    assert not [path for path in (*files, *folders, stack.var / "env") if path.stat().st_mode & 0o077]


def test_deleting_a_roles_secrets_renews_them(tmp_path: Path) -> None:
    first = Stack(tmp_path, workers=1)
    assert first.start().startswith("Segue is ready")
    before = first.environment("web")
    done = first.finished(first.submit(pictures.jpeg()))
    assert first.stop() == 0
    shutil.rmtree(tmp_path / "secrets" / "web")

    assert first.start().startswith("Segue is ready")
    assert first.http.get(done["links"]["mask"]).status_code == 200
    assert first.finished(first.submit(pictures.jpeg()))["status"] == "succeeded"
    assert not first.refusals()
    old = Settings(s3_url=before["S3_URL"], s3_access_key="web", s3_secret_key=before["S3_SECRET_KEY"])
    with pytest.raises(Unavailable, match="PermissionDenied"):
        MinioObjects(old).get(UPLOADS, "a")
    with redis.Redis.from_url(before["REDIS_URL"]) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    assert first.stop() == 0
    first.http.close()


def secrets(stack: Stack) -> list[str]:
    return [file.read_text() for name in ("redis_password", "s3_secret_key") for file in stack.var.rglob(name)]
