"""Celery's transport over Redis, which accepts only Segue's own messages.

Kombu decodes messages in the worker's event loop, so a message that cannot be decoded ends every
worker that receives it. A message may also carry callbacks, an ETA or a time limit. This transport
accepts a message only if it asks for a task of its queue and nothing else, and rebuilds it from its
checked parts. It rejects, counts and logs any other message.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Callable
from datetime import datetime
from queue import Empty
from typing import Any

import redis
from kombu.transport import redis as kombu_redis
from redis.lock import Lock

from storage import keys
from storage.queue.locks import TransactionLock
from storage.queue.tickets import TASKS

IDENTIFIER = re.compile(r"[0-9A-Za-z-]{1,64}")
# The body of a message without arguments, the only one that is accepted.
NO_ARGUMENTS = base64.b64encode(
    json.dumps([[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]).encode()
).decode()

log = logging.getLogger(__name__)


class Foreign(Exception):
    """A message that Segue did not send. The text gives the reason."""


def ticket(message: Any, queue: str) -> dict[str, Any]:
    """A new message with only the task, id and expiry of the received one. Raises Foreign."""
    try:
        headers, delivery_tag = message["headers"], message["properties"]["delivery_tag"]
        task, task_id, expires = headers["task"], headers["id"], headers.get("expires")
        added = {name for name in ("eta", "group", "chord", "stamps") if headers.get(name)}
        if expires is not None:
            datetime.fromisoformat(expires)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise Foreign("it lacks a part") from error
    if task not in TASKS.get(queue, ()):
        raise Foreign(f"its task is not one of {queue}")
    if added or message.get("body") != NO_ARGUMENTS:
        raise Foreign("it asks for more than its task")
    if not all(isinstance(name, str) and IDENTIFIER.fullmatch(name) for name in (task_id, delivery_tag)):
        raise Foreign("it has no id")
    return _rebuilt(queue, task, task_id, expires, delivery_tag)


def _rebuilt(queue: str, task: str, task_id: str, expires: str | None, delivery_tag: str) -> dict[str, Any]:
    return {
        "body": NO_ARGUMENTS,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": task, "id": task_id, "root_id": task_id, "expires": expires, "retries": 0},
        "properties": {
            "correlation_id": task_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": delivery_tag,
        },
    }


class TicketRedis(redis.Redis):
    def lock(self, name: str, **how: Any) -> Lock:  # type: ignore[override]
        return TransactionLock(self, name, **how)


class Channel(kombu_redis.Channel):
    def _get_client(self) -> type[TicketRedis]:
        return TicketRedis

    def _brpop_read(self, **options: Any) -> Any:
        return self._decoding(lambda: super(Channel, self)._brpop_read(**options))  # type: ignore[no-untyped-call]

    def _get(self, queue: Any, timeout: Any = None) -> Any:  # noqa: ARG002
        message = self._decoding(lambda: super(Channel, self)._get(queue))  # type: ignore[no-untyped-call]
        try:
            return ticket(message, queue)
        except Foreign as error:
            self.reject_foreign(queue, str(error))
            raise Empty from error

    def _decoding(self, read: Callable[[], Any]) -> Any:
        """Run `read`, and reject a message that cannot be decoded.

        It has left its list, so dropping it is enough.
        """
        try:
            return read()
        except (Empty, redis.RedisError, OSError):
            raise
        except Exception as error:
            self.reject_foreign("unknown", f"it cannot be decoded: {type(error).__name__}")
            raise Empty from error

    def reject_foreign(self, queue: str, reason: str) -> None:
        log.error("message_rejected", extra={"queue": queue, "reason": reason})
        with self.conn_or_acquire() as client:
            client.hincrby(keys.REJECTED, queue, 1)


class Transport(kombu_redis.Transport):
    """`storage.queue.tickets.celery_app` names this class in its configuration."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        try:
            made = ticket(message, queue)
        except Foreign as error:
            self.channels[0].reject_foreign(queue, str(error))
            return
        super()._deliver(made, queue)  # type: ignore[no-untyped-call]
