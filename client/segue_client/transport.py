"""One exchange with the server, tried again while the server is away or busy."""

import itertools
import math
import random
import time
from typing import Any, Self

import httpx

from segue_client.documents import ProblemError, problem_of

LONG_POLL_S = 25
QUICKEST_POLL_S = 0.5  # a batch at work changes all the time: asked again no faster than this
LONGEST_PAUSE_S = 8.0
LONGEST_LIMITED_S = 600.0
TRANSIENT = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)


class Transport:
    """Safe to share between threads. Every call tries again for `timeout_s` while the server is away or busy.

    `key`: the API key, where the server asks for one.
    """

    def __init__(self, url: str, timeout_s: float = 60, key: str = "") -> None:
        self.timeout_s = timeout_s
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=httpx.Timeout(10, read=90, write=90, pool=None)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def poll(self, link: str, etag: str, wait_s: float) -> httpx.Response:
        """The document, or 304, when it has changed or after `wait_s`; a server too busy to wait is asked later."""
        wait_s, started = min(LONG_POLL_S, math.ceil(wait_s)), time.monotonic()
        known = {"If-None-Match": etag} if etag else {}
        answer = self.send("GET", link, headers={"Prefer": f"wait={wait_s}"} | known)
        waited = time.monotonic() - started
        if answer.status_code == httpx.codes.NOT_MODIFIED and waited < wait_s / 2:
            time.sleep(min(wait_s - waited, max(QUICKEST_POLL_S, _retry_after(answer))))
        return answer

    def send(self, method: str, link: str, **request: Any) -> httpx.Response:
        """One exchange, tried again until `timeout_s` is spent. Raises ProblemError, httpx.TransportError.

        What the server asks a caller at its limit to wait for does not count, up to LONGEST_LIMITED_S in all.
        """
        give_up, limited_s = time.monotonic() + self.timeout_s, LONGEST_LIMITED_S
        for attempt in itertools.count():
            wanted_s = 0.0
            try:
                answer = self._http.request(method, link, **request)
            except TRANSIENT as error:
                failure: Exception = error
            else:
                if answer.is_success or answer.status_code == httpx.codes.NOT_MODIFIED:
                    return answer
                problem = failure = ProblemError(problem_of(answer))
                if problem.status not in (429, 502, 503, 504) and problem.code != "idempotency_in_progress":
                    raise problem
                wanted_s = _retry_after(answer)
                if problem.code == "rate_limited":
                    give_up += min(wanted_s, limited_s)
                    limited_s = max(0.0, limited_s - wanted_s)
            pause_s = wanted_s + random.uniform(0.5, 1) * min(LONGEST_PAUSE_S, 0.2 * 2**attempt)
            if time.monotonic() + pause_s > give_up:
                raise failure
            time.sleep(pause_s)
        raise AssertionError("itertools.count() ended")


def _retry_after(answer: httpx.Response) -> float:
    """Seconds of the header; 0 without, or when it is a date."""
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0
