"""The library of Redis Functions. Each state transition of the queue is one function.

Only the operator may load it: with `segue setup`, or with `python -m storage.queue.functions PID`,
which deploy/redis.sh starts beside each Redis. Redis keeps libraries in its append-only file, and
FLUSHALL does not delete them, so only a Redis that starts without its files must load it again.

The names of the library and its functions contain a version, the digest of their source. During an
upgrade, processes of two versions run side by side, and each calls its own functions.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import time
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import redis

from storage import clock, keys
from storage.tls import redis_options

# Redis refuses these while its memory is full, but not the others: draining frees memory.
ACCEPTING = ("enqueue", "reserve", "restore", "retry", "bind")
DRAINING = (
    "claim", "extend", "finish", "release", "cancel", "sweep", "tickets", "reindex", "outlook", "begin_erase",
    "finish_erase", "recorded", "count", "judge", "link",
)  # fmt: skip
KEPT = 3  # versions of the library that `load` keeps: those loaded last
PATIENCE_S = 600.0
FUNCTION = """
serve('{name}', {{ {flags} }}, function(ARGV)
{body}
end)
"""
SERVE = """
local function serve(name, flags, run)
  redis.register_function({{
    function_name = '{library}_' .. name,
    flags = flags,
    callback = function(_, args)
      NOW = now()
      return run(args)
    end,
  }})
end
"""

log = logging.getLogger(__name__)


def _source(name: str) -> str:
    return (files("storage.queue") / "lua" / f"{name}.lua").read_text()


def _functions() -> Iterable[str]:
    for names, flags in ((ACCEPTING, ""), (DRAINING, "'allow-oom'")):
        for name in names:
            yield FUNCTION.format(name=name, flags=flags, body=_source(name))


@cache
def library_name() -> str:
    text = "".join((_source("prelude"), SERVE, *_functions()))
    return f"segue_{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def library() -> str:
    """The source for FUNCTION LOAD."""
    serve = SERVE.format(library=library_name())
    return "".join((f"#!lua name={library_name()}\n", _source("prelude"), serve, *_functions()))


class Functions:
    """Calls the functions of this program's version of the library."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def name(self, function: str) -> str:
        """The full name of a function, for FCALL in a pipeline."""
        return f"{library_name()}_{function}"

    def __call__(self, function: str, *args: str | int | float | bytes) -> Any:
        return self._client.fcall(self.name(function), 0, *args)


def is_loaded(client: redis.Redis) -> bool:
    """Whether Redis has this version of the library. Needs the operator's rights."""
    return bool(client.function_list(library=library_name()))


def load(client: redis.Redis) -> None:
    """Load this version and delete all but the last KEPT.

    Needs the operator's rights; safe to repeat.
    """
    try:
        client.function_load(library())
    except redis.ResponseError as error:
        if "already exists" not in str(error):
            raise
    client.zadd(keys.FUNCTIONS, {library_name(): clock.now_ms()})
    for outdated in cast(list[str], client.zrange(keys.FUNCTIONS, KEPT, -1, desc=True)):
        client.zrem(keys.FUNCTIONS, outdated)
        if client.function_list(library=outdated):
            client.function_delete(outdated)


def load_when_it_answers(redis_url: str, redis_ca: Path | None = None, server_pid: int | None = None) -> None:
    """Wait until Redis answers, then load the library.

    A starting Redis first reads its append-only file. Returns without loading it once the process
    `server_pid`, the starting Redis, has ended. Raises redis.RedisError if Redis does not answer
    for PATIENCE_S.
    """
    give_up = time.monotonic() + PATIENCE_S
    with redis.Redis.from_url(
        redis_url, decode_responses=True, socket_connect_timeout=2, **redis_options(redis_url, redis_ca)
    ) as client:
        while server_pid is None or _is_running(server_pid):
            try:
                load(client)
                break
            except (redis.ConnectionError, redis.TimeoutError) as error:  # includes BusyLoadingError
                if time.monotonic() > give_up:
                    raise
                log.info("functions_delayed", extra={"error": str(error)})
                time.sleep(0.1)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    from storage.settings import Settings

    settings = Settings()
    load_when_it_answers(settings.redis_url, settings.redis_ca, int(sys.argv[1]))
