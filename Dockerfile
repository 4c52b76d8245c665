# Targets `web`, `worker` and `trainer`, each with its own code and dependencies. All run as an unprivileged user.
# The optional secret `ca` is the file of the certificate authority that pip trusts, for a proxy that inspects TLS.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app PATH=/venv/bin:$PATH VAR=/tmp MODEL_CACHE=/tmp/models
WORKDIR /app
RUN python -m venv /venv && useradd --system --uid 10001 segue

FROM base AS web
COPY requirements/web.txt requirements/web.txt
RUN --mount=type=secret,id=ca [ ! -s /run/secrets/ca ] || export PIP_CERT=/run/secrets/ca; \
    pip install --no-cache-dir --require-hashes -r requirements/web.txt
COPY deploy/gunicorn.py deploy/gunicorn.py
COPY storage storage
COPY telemetry telemetry
COPY web web
USER 10001
EXPOSE 8000
CMD ["sh", "-c", "exec gunicorn -c deploy/gunicorn.py 'web.app:create_app()'"]

FROM base AS worker
# REQUIREMENTS=gpu installs TensorFlow with CUDA instead of LiteRT alone (compose.gpu.yml).
ARG REQUIREMENTS=worker
COPY requirements/${REQUIREMENTS}.txt requirements.txt
RUN --mount=type=secret,id=ca [ ! -s /run/secrets/ca ] || export PIP_CERT=/run/secrets/ca; \
    pip install --no-cache-dir --require-hashes -r requirements.txt
COPY segue.py segue.py
COPY cli cli
COPY learning learning
COPY client/segue_client segue_client
COPY storage storage
COPY telemetry telemetry
COPY model model
COPY worker worker
USER 10001
CMD ["sh", "-c", "exec nice -n 5 celery --quiet -A worker.app worker -Q segment --without-gossip --without-mingle --without-heartbeat"]

FROM worker AS trainer
USER 0
COPY requirements/train.txt requirements.txt
RUN --mount=type=secret,id=ca [ ! -s /run/secrets/ca ] || export PIP_CERT=/run/secrets/ca; \
    pip install --no-cache-dir --require-hashes -r requirements.txt
USER 10001
CMD ["sh", "-c", "exec nice -n 10 celery --quiet -A worker.app worker -P solo -Q training --without-gossip --without-mingle --without-heartbeat"]
