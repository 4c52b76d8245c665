"""The health check of a container: `python -m worker.alive worker` or `… housekeeper`.

Exits with 1 unless this machine's worker has sent a heartbeat, which it stops if it stalls, or unless a housekeeper has
swept the queue, in the last seconds. During an outage of Redis it exits with 1 too. With `--restarts`, for a check
whose failure restarts the container, it then exits with 0, because a restart would not end the outage.
"""

import argparse
import socket
import sys

import redis

from storage.connection import connect
from storage.queue.jobs import RedisJobs
from storage.settings import Settings

SWEPT_WITHIN = 10  # sweeps: one may wait for a long one before it


def worker_is_live(jobs: RedisJobs, host: str) -> bool:
    """Return whether a worker on `host` has a heartbeat that has not expired."""
    return any(name.rpartition("-")[0] == host for name in jobs.workers.memory_bytes())


def housekeeper_is_live(jobs: RedisJobs, sweep_s: float) -> bool:
    """Return whether any housekeeper has swept lately; each one does so every `sweep_s` seconds."""
    age_s = jobs.epoch.state_age_s()
    return age_s is not None and age_s < SWEPT_WITHIN * sweep_s


def is_live(role: str) -> bool:
    """Raises redis.RedisError during an outage."""
    settings = Settings()
    storage = connect(settings)
    try:
        if role == "worker":
            return worker_is_live(storage.jobs, socket.gethostname())
        return housekeeper_is_live(storage.jobs, settings.sweep_s)
    finally:
        storage.close()


def main() -> bool:
    parser = argparse.ArgumentParser(prog="python -m worker.alive")
    parser.add_argument("role", choices=["worker", "housekeeper"])
    parser.add_argument("--restarts", action="store_true")
    arguments = parser.parse_args()
    try:
        return is_live(arguments.role)
    except redis.RedisError as error:
        print(f"Redis does not answer: {type(error).__name__}", file=sys.stderr)
        return bool(arguments.restarts)


if __name__ == "__main__":
    sys.exit(not main())
