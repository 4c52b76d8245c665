"""The bare work in LitServe, in micro-batches."""

import os
from typing import Annotated

import litserve
from fastapi import Body
from fastapi.responses import Response
from work import Work

Photo = Annotated[bytes, Body(media_type="image/jpeg")]


class Api(litserve.LitAPI):
    def setup(self, _: str) -> None:
        self.work = Work(os.environ["PEER_ENGINE"])

    def decode_request(self, request: Photo) -> bytes:
        return request

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, inputs: list[bytes]) -> list[bytes]:
        return self.work.masks(inputs)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        return output

    def encode_response(self, output: bytes) -> Response:
        return Response(output, media_type="image/png")


if __name__ == "__main__":
    api = Api(max_batch_size=16, batch_timeout=0.005, api_path="/masks")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=2, timeout=120)
    server.run(host="127.0.0.1", port=int(os.environ["PEER_PORT"]), generate_client_file=False, log_level="warning")
