"""The client sends the key only to the server that it was configured for."""

import json
from collections.abc import Callable

import pytest
from misbehaving import Answer, server

from segue_client import Client, ConfigurationError, Job, ProblemError
from segue_client.connection import address, clean_key
from segue_client.links import resolve

KEY = "seg_secret"


def queued(link: str) -> bytes:
    return json.dumps({"id": "job_1", "status": "queued", "links": {"self": link}, "input": {}}).encode()


@pytest.mark.parametrize(
    "link", ["{other}/v1/jobs/job_1", "//{host}/v1/jobs/job_1", "{OTHER}/x", "http://[", "ftp://x/y"]
)
def test_a_link_to_another_server_is_not_followed(link: str) -> None:
    with server(lambda _: (200, {}, queued("/x"))) as (other, asked):
        host = other.removeprefix("http://")
        link = link.format(other=other, host=host, OTHER=other.replace("http", "HTTP"))
        with server(lambda _: (202, {}, queued(link))) as (url, _), Client(url, key=KEY) as client:
            job = client.submit(b"photo")
            with pytest.raises(ProblemError) as caught:
                client.wait(job, timeout_s=30)
    assert (caught.value.code, len(asked)) == ("foreign_link", 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with server(lambda _: (200, {}, queued("/x"))) as (other, asked):
        away: Callable[[int], Answer] = lambda _: (status, {"Location": f"{other}/v1/jobs/job_1"}, b"")  # noqa: E731
        with server(away) as (url, _), Client(url, key=KEY) as client, pytest.raises(ProblemError) as caught:
            client.job("job_1")
    assert (caught.value.status, len(asked)) == (status, 0)
    assert "redirects" in caught.value.document["detail"]


def test_absolute_and_relative_links_of_the_server_are_followed() -> None:
    with (
        server(lambda _: (200, {}, queued("/x"))) as (url, asked),
        Client(url, key=KEY) as client,
    ):
        for link in (f"{url}/v1/jobs/job_1", "/v1/jobs/job_1?a=b"):
            client.poll(link, "", 0)
    assert [headers["Authorization"] for headers in asked] == [f"Bearer {KEY}"] * 2


@pytest.mark.parametrize(
    ("base", "link", "path"),
    [
        ("http://s/", "/v1/jobs", b"/v1/jobs"),
        ("http://s/segue", "/v1/jobs", b"/segue/v1/jobs"),
        ("http://s/segue/", "/segue/v1/jobs?after=3", b"/segue/v1/jobs?after=3"),
        ("http://s:80/segue/", "http://s/segue/v1/jobs", b"/segue/v1/jobs"),
    ],
)
def test_links_below_a_prefix(base: str, link: str, path: bytes) -> None:
    assert resolve(address(base), link).raw_path == path


@pytest.mark.parametrize("key", ["schlüssel", "two words", "a\nb", "a\x1b[2J", "\udce9"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Client("http://127.0.0.1:1", key=key)
    assert key not in str(caught.value)


def test_a_line_break_after_the_key_is_ignored() -> None:
    assert clean_key(f" {KEY}\r\n") == KEY


def test_an_id_that_is_not_unicode_is_a_problem() -> None:
    job = Job("job_1", "queued", {"self": "/v1/jobs/job_1"}, {}, "")
    with server(lambda _: (404, {}, b"")) as (url, _), Client(url) as client:
        for call in (lambda: client.job("\udce9"), lambda: client.batch("../\udce9"), lambda: client.mask(job)):
            with pytest.raises(ProblemError):
                call()
