"""The bare work in mosec, in micro-batches."""

import os

from mosec import Server, Worker
from work import Work


class Masks(Worker):
    resp_mime_type = "image/png"

    def __init__(self) -> None:
        self.work = Work(os.environ["PEER_ENGINE"])

    def deserialize(self, data: bytes) -> bytes:
        return data

    def serialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: list[bytes]) -> list[bytes]:
        return self.work.masks(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Masks, num=2, max_batch_size=16, max_wait_time=5, timeout=120, route="/masks")
    server.run()
