"""Sending tickets while Redis works, has been emptied, or is down."""

import time

from storage.connection import Storage, connect
from storage.keys import SEGMENT_QUEUE
from storage.settings import Settings


def test_a_ticket_reaches_the_list_after_a_flush(connection: Storage) -> None:
    connection.tickets.send(2)
    assert connection.jobs.client.llen(SEGMENT_QUEUE) == 2
    connection.jobs.client.flushall()
    connection.tickets.send()
    assert connection.jobs.client.llen(SEGMENT_QUEUE) == 1


def test_a_ticket_that_cannot_be_sent_neither_raises_nor_waits(settings: Settings) -> None:
    nowhere = connect(settings.replace(redis_url="redis://127.0.0.1:9/0"))
    started = time.monotonic()
    nowhere.tickets.send()
    assert time.monotonic() - started < 30
