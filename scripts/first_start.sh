#!/bin/sh
# Start the containers of docker-compose.yml for the first time. Needs Docker with Compose, nothing else.
# Creates the secrets, builds the images, creates the first key, starts everything and waits until it is healthy.
# Safe to run again: it keeps existing secrets, and creates no key while a valid one exists. It does not upgrade Segue
# (docs/run-in-production.md, "Upgrade").
#
#   scripts/first_start.sh [OPTIONS OF docker compose up]      for example --scale worker=2
#
# TENANT: the owner of the first key (default: main). WAIT_S: how long to wait for healthy containers (default: 300).
# Compose's own variables and those of docker-compose.yml apply, from the shell or from .env: COMPOSE_FILE,
# COMPOSE_PROFILES, PORT, ADDRESS, TLS, ROLES, ...
set -eu
umask 077
cd "$(dirname "$0")/.."

fail() {
    echo "$1" >&2
    exit 1
}

step() {
    echo "$1 ..." >&2
}

# `segue` with the operator's rights, in a container that is removed afterwards.
operator() {
    docker compose run --rm -T "$@"
}

docker compose version > /dev/null 2>&1 || fail "Docker Compose is missing: 'docker compose version' fails."

# Compose knows where the secrets are, because .env may set ROLES.
roles=$(docker compose config | sed -n 's|^ *source: "\{0,1\}\(/.*\)/redis\.acl"\{0,1\}$|\1|p')
[ -n "$roles" ] || fail "docker-compose.yml mounts no redis.acl: 'docker compose config' shows what Compose reads."

step "Building the images"
docker compose build

step "Creating the secrets that are missing in $roles"
mkdir -p "$roles"
operator --no-deps --user "$(id -u):$(id -g)" --volume "$roles:/secrets" setup python -m segue roles /secrets > /dev/null

step "Starting Redis, PostgreSQL and the object store"
key=$(operator setup python -m segue keys create --tenant "${TENANT:-main}" --if-none)
if [ -n "$key" ]; then
    # At once: if a later step fails, the key could not be shown again.
    echo "The first API key, of the tenant ${TENANT:-main}. It is not shown again:"
    echo "$key"
fi

step "Starting the other containers"
docker compose up -d --wait --wait-timeout "${WAIT_S:-300}" "$@" || {
    docker compose ps -a >&2
    fail "Not all containers are healthy: see 'docker compose logs'. Run this again when the cause is gone."
}

address=$(docker compose port nginx 8080)
scheme=$(docker compose exec -T nginx sh -c '[ -f "$TLS_CERTIFICATE" ] && [ -f "$TLS_KEY" ] && echo https || echo http')
echo "Segue is ready on $scheme://$address"
[ -n "$key" ] || echo "A valid API key exists already. Another one: docker compose run --rm setup python -m segue keys create --tenant NAME"
