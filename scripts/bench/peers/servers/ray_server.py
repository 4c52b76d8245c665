"""The bare work in Ray Serve, in micro-batches."""

import os
import signal

from ray import serve
from starlette.requests import Request
from starlette.responses import Response
from work import Work


@serve.deployment(num_replicas=2, max_ongoing_requests=64, ray_actor_options={"num_cpus": 1})
class Masks:
    def __init__(self, engine: str) -> None:
        self.work = Work(engine)

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.005)
    async def masks(self, photos: list[bytes]) -> list[bytes]:
        return self.work.masks(photos)

    async def __call__(self, request: Request) -> Response:
        return Response(await self.masks(await request.body()), media_type="image/png")


if __name__ == "__main__":
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PEER_PORT"])})
    serve.run(Masks.bind(os.environ["PEER_ENGINE"]), route_prefix="/masks")
    signal.pause()
