"""The bare work behind Flask and gunicorn: one thread per request, one image at a time in each process."""

import os
import threading

from flask import Flask, Response, request
from work import Work

app = Flask(__name__)
work, engine = Work(os.environ["PEER_ENGINE"]), threading.Lock()


@app.post("/masks")
def masks() -> Response:
    header, pixels = work.prepare(request.get_data())
    with engine:  # an interpreter serves one thread at a time
        logits = work.infer([pixels])
    return Response(work.encode(logits[0], header), mimetype="image/png")
