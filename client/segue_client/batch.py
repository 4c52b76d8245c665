"""A batch: images that are sent and followed together."""

import json
import time
from collections.abc import Iterator, Sequence

import httpx

from segue_client.documents import UNFINISHED, AppendOutcome, Counts, Item, document_of
from segue_client.transport import LONG_POLL_S, QUICKEST_POLL_S, Transport


class Batch:
    """Images that are sent and followed together. `custom_id` identifies an image in its batch.

    The attributes show the batch as it was at the last request; `refresh` and `poll` update them.
    """

    def __init__(self, transport: Transport, answer: httpx.Response) -> None:
        self._transport = transport
        self._update(answer)

    def _update(self, answer: httpx.Response) -> None:
        document = document_of(answer)
        self.id, self.name, self.status = str(document["id"]), str(document["name"]), str(document["status"])
        self.counts = Counts.of(document["counts"])
        self.rate_per_s: float | None = document.get("rate_per_s")
        self.eta_s: float | None = document.get("eta_s")
        self.links: dict[str, str] = document["links"]
        self._etag = answer.headers.get("ETag", "")

    @property
    def final(self) -> bool:
        return self.status not in UNFINISHED

    def append(self, images: Sequence[tuple[str, bytes]]) -> list[AppendOutcome]:
        """Add (custom_id, content) pairs and return one outcome per pair, in the same order.

        The server does not change an image whose custom_id it already has, so repeating is safe.
        """
        parts = [part(custom_id, content) for custom_id, content in images]
        answer = self._transport.send("POST", self.links["jobs"], files=parts)
        return [AppendOutcome.of(item) for item in document_of(answer)["items"]]

    def close(self) -> None:
        """Accept no more images. The batch ends as soon as all of its images have ended."""
        self._update(self._transport.send("POST", self.links["close"]))

    def cancel(self) -> None:
        self._update(self._transport.send("POST", self.links["cancel"]))

    def retry(self) -> None:
        """Run the failed images again."""
        self._update(self._transport.send("POST", self.links["retry"]))

    def refresh(self) -> None:
        self._update(self._transport.send("GET", self.links["self"]))

    def poll(self, wait_s: float = LONG_POLL_S) -> None:
        """Wait until the batch has changed or `wait_s` have passed, and refresh it."""
        started = time.monotonic()
        answer = self._transport.poll(self.links["self"], self._etag, wait_s)
        if answer.status_code != httpx.codes.NOT_MODIFIED:
            self._update(answer)
            if not self.final:
                time.sleep(max(0.0, QUICKEST_POLL_S - (time.monotonic() - started)))

    def wait(self, timeout_s: float = 3600) -> None:
        """Block until the batch has ended.

        A batch that is not closed never ends. Raises TimeoutError.
        """
        give_up = time.monotonic() + timeout_s
        while not self.final:
            left = give_up - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{self.id} is still {self.status}")
            self.poll(left)

    def results(self, after: int = 0) -> Iterator[Item]:
        """Yield the images that have finished so far, from the cursor `after` on."""
        while lines := self._transport.send("GET", self.links["results"], params={"after": after}).content.strip():
            for line in lines.split(b"\n"):
                item = Item.of(json.loads(line))
                after = item.cursor
                yield item

    def __iter__(self) -> Iterator[Item]:
        """Yield each image when it has finished, until the batch has ended."""
        after, ended = 0, False
        while not ended:
            ended = self.final  # checked before reading, so that the last read includes every image
            for item in self.results(after):
                after = item.cursor
                yield item
            if not ended:
                self.poll()


def part(name: str, content: bytes) -> tuple[str, tuple[str, bytes, str]]:
    return "image", (name.encode(errors="replace").decode(), content, "application/octet-stream")
