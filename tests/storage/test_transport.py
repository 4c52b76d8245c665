"""Messages other than our tickets, put into the lists as with stolen credentials of the web role."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery

from storage.connection import Storage
from storage.keys import CONTROL_QUEUE, RECORDS_QUEUE, SEGMENT_QUEUE
from storage.queue.tickets import RECORD_MISSING, SEGMENT_BATCH, SWEEP, TASKS, celery_app
from storage.queue.transport import Foreign, ticket

Message = dict[str, Any]


@pytest.fixture
def app(connection: Storage) -> Iterator[Celery]:
    made = celery_app(connection.settings.redis_url)
    yield made
    made.close()


@pytest.fixture
def sent(app: Celery, connection: Storage) -> Message:
    """A message as Celery sends it."""
    app.send_task(SEGMENT_BATCH, queue=SEGMENT_QUEUE)
    return dict(json.loads(connection.jobs.client.rpop(SEGMENT_QUEUE)))


def body(embed: dict[str, Any], *args: object, **kwargs: object) -> str:
    return base64.b64encode(json.dumps([args, kwargs, embed]).encode()).decode()


def header(name: str, value: object) -> Callable[[Message], object]:
    return lambda message: message["headers"].update({name: value})


def other_body(embed: dict[str, Any], *args: object) -> Callable[[Message], object]:
    return lambda message: message.update(body=body(embed, *args))


FOREIGN: dict[str, Callable[[Message], object]] = {
    "another program's task": header("task", "celery.backend_cleanup"),
    "a task of another queue": header("task", SWEEP),
    "a task that is not a name": header("task", ["x"]),
    "an hour to wait for": header("eta", "2099-01-01T00:00:00"),
    "a group": header("group", "x"),
    "an expiry that is not a time": header("expires", {"a": 1}),
    "an id that is not one": header("id", {"a": 1}),
    "an argument": other_body({}, "x"),
    "a callback": other_body({"callbacks": [{"task": SWEEP, "args": [], "options": {"queue": CONTROL_QUEUE}}]}),
    "headers that are a list": lambda message: message.update(headers=[]),
    "no headers": lambda message: message.pop("headers"),
    "no properties": lambda message: message.pop("properties"),
    "no body": lambda message: message.pop("body"),
    "a delivery tag that is a list": lambda message: message["properties"].update(delivery_tag=[]),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_message_that_differs_from_a_ticket_is_foreign(sent: Message, what: str) -> None:
    assert ticket(sent, SEGMENT_QUEUE)
    FOREIGN[what](sent)
    with pytest.raises(Foreign):
        ticket(sent, SEGMENT_QUEUE)


@pytest.mark.parametrize("message", [None, 1, "x", [], [1], {}])
def test_any_other_json_is_foreign(message: object) -> None:
    with pytest.raises(Foreign):
        ticket(message, SEGMENT_QUEUE)


def test_a_ticket_cannot_set_its_reply_queue_or_time_limit(sent: Message) -> None:
    sent["properties"]["delivery_info"] = {"exchange": "x", "routing_key": CONTROL_QUEUE}
    sent["headers"].update(retries=99, timelimit=[1, 1])
    made = ticket(sent, SEGMENT_QUEUE)
    assert made["properties"]["delivery_info"] == {"exchange": "", "routing_key": SEGMENT_QUEUE}
    assert made["headers"]["retries"] == 0
    assert "timelimit" not in made["headers"]


RAW = (b"\xff\xfe", b"", b"{", b"null", b"[" * 100_000, b'{"__type__": "x", "__value__": 1}', b"NaN", b"9" * 5000)


@pytest.mark.parametrize("raw", RAW, ids=range(len(RAW)))
def test_a_consumer_continues_after_an_unreadable_message(app: Celery, connection: Storage, raw: bytes) -> None:
    """The consumer reads in the event loop, as a worker does, and its connection must stay usable."""
    client, taken = connection.jobs.client, []
    client.lpush(SEGMENT_QUEUE, raw)
    app.send_task(SEGMENT_BATCH, queue=SEGMENT_QUEUE)
    with (
        app.connection_for_read() as broker,
        app.amqp.TaskConsumer(broker, queues=[app.amqp.queues[SEGMENT_QUEUE]]) as consumer,
    ):
        consumer.on_message = lambda message: (taken.append(message.headers["task"]), message.ack())
        for _ in range(20):
            if taken:
                break
            try:
                broker.drain_events(timeout=1)
            except TimeoutError:
                continue
    assert taken == [SEGMENT_BATCH]
    assert client.llen(SEGMENT_QUEUE) == 0
    assert connection.jobs.rejected() == 1


def test_every_periodic_task_and_every_ticket_is_accepted(app: Celery, connection: Storage) -> None:
    connection.tickets.send(1)
    connection.tickets.record_missing()
    app.send_task(SWEEP, queue=CONTROL_QUEUE, expires=2)
    with app.connection_for_read() as broker:
        for queue, task in ((SEGMENT_QUEUE, SEGMENT_BATCH), (RECORDS_QUEUE, RECORD_MISSING), (CONTROL_QUEUE, SWEEP)):
            assert broker.default_channel.basic_get(queue).headers["task"] == task
    assert connection.jobs.rejected() == 0


def test_messages_of_the_scheduler_are_accepted(connection: Storage) -> None:
    """The scheduler knows the tasks, so it adds their configured options to the message."""
    from worker.tasks import sweep

    with celery_app(connection.settings.redis_url).connection() as broker:
        sweep.apply_async(queue=CONTROL_QUEUE, expires=2, connection=broker)
        [raw] = connection.jobs.client.lrange(CONTROL_QUEUE, 0, -1)
        assert json.loads(raw)["headers"]["timelimit"] != [None, None]
        assert broker.default_channel.basic_get(CONTROL_QUEUE).headers["task"] == SWEEP


def test_the_tasks_of_the_queues_are_those_of_the_workers() -> None:
    from worker import tasks
    from worker.app import app

    assert tasks
    ours = {name for name in app.tasks if name.startswith("worker.")}
    assert ours == {name for names in TASKS.values() for name in names}
    for entry in app.conf.beat_schedule.values():
        assert entry["task"] in TASKS[entry["options"]["queue"]]
