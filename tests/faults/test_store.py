"""The object store down, and full."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import damage
import offline
import pytest
import services
from scene import QUICK, Begin, Scene
from stack import Stack

from storage.objects import MODELS
from storage.problems import Unavailable

SECRET = "a-secret-for-tests"
DISK = "256m"


@pytest.mark.full
def test_the_object_store_killed(scene: Scene) -> None:
    """During the outage no job is accepted or claimed, and no attempt counts as lost."""
    scene.load(400)
    scene.busy()
    with scene.fault():
        with damage.unsupervised(scene.stack):
            assert damage.kill(scene.stack.pids("weed"))
            services.wait_until(lambda: not scene.leased(), "the end of all claims")
            for _ in range(20):
                assert not scene.leased()
                time.sleep(0.2)
            assert refused(scene.stack)
        services.wait_until(lambda: writable(scene), "the object store")
    scene.settle()
    assert not scene.losses()


def refused(stack: Stack) -> bool:
    """Whether an upload is refused with a Retry-After."""
    content = offline.photos()[0].content
    answer = stack.http.post("/v1/jobs", content=content, headers={"Content-Type": "image/jpeg"})
    return answer.status_code == 503 and "Retry-After" in answer.headers


def writable(scene: Scene) -> bool:
    try:
        scene.storage.objects.put(MODELS, "probe", b"x" * 10_000, "application/octet-stream")
    except Unavailable:
        return False
    return True


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[services.Service]:
    """An object store on a small disk, mounted in its own namespace."""
    unshare = namespace()
    folder = tmp_path / "disk"
    folder.mkdir()
    port = services.free_ports(4)
    env = services.environment(VAR=folder, S3_PORT=port, S3_ACCESS_KEY="segue", S3_SECRET_KEY=SECRET)
    mount = f'mount -t tmpfs -o size={DISK} none "$VAR" && exec deploy/s3.sh'
    service = services.start([*unshare, "sh", "-c", mount], env, port, tmp_path / "s3.log")
    yield service
    service.process.kill()  # its namespace disappears with it, so it needs no clean shutdown
    service.process.wait()


def namespace() -> list[str]:
    """The command that creates a mount namespace.

    Skips if the kernel does not allow one, except as root in CI.
    """
    for command in (["unshare", "-m"], ["unshare", "-r", "-m"]):
        trial = [*command, "mount", "-t", "tmpfs", "none", "/mnt"]
        with suppress(FileNotFoundError):
            if subprocess.run(trial, capture_output=True, check=False).returncode == 0:
                return command
    if os.environ.get("CI") and os.geteuid() == 0:
        pytest.fail("no mount namespace, although this is root")
    pytest.skip("no mount namespace: the kernel does not allow one")


@pytest.fixture
def on_disk(disk: services.Service, tmp_path: Path) -> Iterator[Stack]:
    url = f"http://127.0.0.1:{disk.port}"
    with Stack(tmp_path / "var", **QUICK, S3_URL=url, S3_SECRET_KEY=SECRET) as stack:
        yield stack


@pytest.mark.full
def test_the_disk_of_the_object_store_full(
    begin: Begin, on_disk: Stack, disk: services.Service, tmp_path: Path
) -> None:
    scene = begin(on_disk)
    seen = Path(f"/proc/{disk.process.pid}/root{tmp_path}/disk")
    scene.submit(40)  # makes SeaweedFS allocate volumes for masks: on a full disk it would use up its volume ids
    services.wait_until(lambda: not scene.open(), "the first masks")
    with scene.held():
        scene.submit(280)
        fill(seen / "filler")
        assert shutil.disk_usage(seen).free == 0
        services.wait_until(lambda: refused(on_disk), "an upload that is refused")
    with scene.fault():
        time.sleep(8)
        assert scene.open()
        (seen / "filler").unlink()
        services.wait_until(lambda: writable(scene), "the object store")
    scene.settle()
    assert not scene.losses()


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as filler, suppress(OSError):  # the last write fails with "no space left"
        while True:
            filler.write(bytes(4096))
