"""`select.poll` in a process that gevent has patched."""

import subprocess
import sys

import services

SCRIPT = """
from gevent import monkey

monkey.patch_all()

from web.http.polling import poll_without_switching

poll_without_switching()

import select
import socket
import time

import gevent

near, far = socket.socketpair()
poller = select.poll()
poller.register(near, select.POLLIN)
others = []
gevent.spawn(others.append, "ran")

assert poller.poll(0) == []
assert others == [], "a poll that may not wait let another greenlet run"

assert poller.poll(50) == []
assert others == ["ran"], "a poll that waits held up another greenlet"

gevent.spawn_later(0.05, far.send, b"x")
assert poller.poll(20_000) == [(near.fileno(), select.POLLIN)]
assert poller.poll(0) == [(near.fileno(), select.POLLIN)]

near.recv(1)
far.close()
assert poller.poll(0)[0][1] & select.POLLIN, "a closed connection looks alive"

poller.unregister(near)
assert poller.poll(0) == []
"""


def test_only_a_poll_that_may_wait_lets_other_requests_run() -> None:
    env = services.environment(PYTHONPATH=services.PYTHONPATH)
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
