"""The bare work in BentoML, one image at a time in each worker."""

import os
from pathlib import Path
from typing import Annotated

import bentoml
from bentoml.validators import ContentType
from work import Work


@bentoml.service(workers=2, threads=1, traffic={"timeout": 120})
class Masks:
    def __init__(self) -> None:
        self.work = Work(os.environ["PEER_ENGINE"])

    @bentoml.api(route="/masks")
    def masks(self, photo: Annotated[Path, ContentType("image/jpeg")], /) -> Annotated[bytes, ContentType("image/png")]:
        return self.work.masks([photo.read_bytes()])[0]
