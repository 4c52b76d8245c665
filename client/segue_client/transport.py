"""Requests to the server, retried while it is down or busy."""

import itertools
import math
import random
import threading
import time
from queue import Empty, Queue
from typing import Any, Self

import httpx

from segue_client.connection import http_client
from segue_client.documents import ProblemError, problem_of
from segue_client.failures import unreachable
from segue_client.links import resolve

LONG_POLL_S = 25
QUICKEST_POLL_S = 0.5  # shortest pause between two polls: a running batch changes all the time
LONGEST_PAUSE_S = 8.0
LONGEST_LIMITED_S = 600.0
RETRIED = (408, 429, 502, 503, 504)
LIMITED = ("rate_limited", "too_many_at_once")  # waiting for these does not count against the time-out
TRANSIENT = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)


class Transport:
    """Safe to share between threads. Each call retries for `timeout_s` while the server is down or busy.

    `key`: the API key, if the server requires one.
    """

    def __init__(self, url: str, timeout_s: float = 60, key: str = "") -> None:
        """Raises ConfigurationError."""
        self.timeout_s = timeout_s
        self._http = http_client(url, key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def find(self, within_s: float) -> None:
        """Check that a server responds at the address. Raises UnreachableError."""
        found: Queue[httpx.HTTPError | None] = Queue()
        # In a thread, because a name lookup has no timeout.
        threading.Thread(target=lambda: found.put(self._try_reach(within_s)), daemon=True).start()
        try:
            error = found.get(timeout=within_s + 0.5)
        except Empty:
            error = httpx.ConnectTimeout("")
        if error:
            raise unreachable(self._http.base_url, error) from error

    def _try_reach(self, within_s: float) -> httpx.HTTPError | None:
        give_up = time.monotonic() + within_s
        for attempt in itertools.count():
            left = give_up - time.monotonic()
            try:
                self._http.get("/healthz", timeout=max(0.1, left))
            except httpx.HTTPError as error:
                pause_s = _pause_s(attempt)
                if not isinstance(error, TRANSIENT) or time.monotonic() + pause_s > give_up:
                    return error
                time.sleep(pause_s)
            else:
                return None
        raise AssertionError("itertools.count() ended")

    def poll(self, link: str, etag: str, wait_s: float) -> httpx.Response:
        """Wait until the document behind `link` differs from `etag`, or `wait_s` have passed.

        Returns the response with the document, or a 304. If the server responds early because it is
        too busy to hold the request, sleeps before returning.
        """
        wait_s, started = min(LONG_POLL_S, math.ceil(wait_s)), time.monotonic()
        known = {"If-None-Match": etag} if etag else {}
        answer = self.send("GET", link, headers={"Prefer": f"wait={wait_s}"} | known)
        waited = time.monotonic() - started
        if answer.status_code == httpx.codes.NOT_MODIFIED and waited < wait_s / 2:
            time.sleep(min(wait_s - waited, max(QUICKEST_POLL_S, _retry_after(answer))))
        return answer

    def send(self, method: str, link: str, **request: Any) -> httpx.Response:
        """Send one request, and retry until `timeout_s` have passed. Raises ProblemError, UnreachableError.

        Pauses that the server's rate limit demands do not count, up to LONGEST_LIMITED_S in total.
        """
        url = resolve(self._http.base_url, link)
        give_up, limited_s = time.monotonic() + self.timeout_s, LONGEST_LIMITED_S
        for attempt in itertools.count():
            wanted_s = 0.0
            try:
                answer = self._http.request(method, url, **request)
            except httpx.HTTPError as error:
                failure: Exception = unreachable(self._http.base_url, error)
                if not isinstance(error, TRANSIENT):
                    raise failure from error
            except UnicodeError as error:
                detail = "An argument is not valid Unicode."
                raise ProblemError({"title": "Not sent", "detail": detail, "code": "not_sent"}) from error
            else:
                if answer.is_success or answer.status_code == httpx.codes.NOT_MODIFIED:
                    return answer
                problem = failure = ProblemError(problem_of(answer))
                if problem.status not in RETRIED and problem.code != "idempotency_in_progress":
                    raise problem
                wanted_s = _retry_after(answer)
                if problem.code in LIMITED:
                    give_up += min(wanted_s, limited_s)
                    limited_s = max(0.0, limited_s - wanted_s)
            pause_s = wanted_s + _pause_s(attempt)
            if time.monotonic() + pause_s > give_up:
                raise failure
            time.sleep(pause_s)
        raise AssertionError("itertools.count() ended")


def _pause_s(attempt: int) -> float:
    return random.uniform(0.5, 1) * float(min(LONGEST_PAUSE_S, 0.2 * 2**attempt))


def _retry_after(answer: httpx.Response) -> float:
    """The seconds of the Retry-After header; 0 if it is missing or a date."""
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0
