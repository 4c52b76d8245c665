#!/bin/sh
# Installs Segue with a Python into a new environment, starts it as `make run` does, and segments one photo.
# Usage: scripts/smoke.sh PYTHON
set -eu
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
bin=$folder/venv/bin
server=
finish() {
    [ -z "$server" ] || { kill "$server" && wait "$server" || true; }
    rm -rf "$folder"
}
trap finish EXIT

export VAR="$folder/var" PORT=18000 REDIS_PORT=18001 S3_PORT=18010
make PYTHON="$1" VENV="$folder/venv" "$folder/venv/.run"
"$bin/python" --version
"$bin/python" scripts/run.py > "$folder/log" &
server=$!
until grep -q 'is ready' "$folder/log"; do
    kill -0 "$server" 2> /dev/null || { echo "$1: Segue ended before it was ready" >&2; exit 1; }
    sleep 0.5
done
"$bin/python" -c 'import sys; from PIL import Image; Image.new("RGB", (640, 480), "brown").save(sys.argv[1])' "$folder/photo.jpg"
"$bin/segue" submit "$folder/photo.jpg" --out "$folder/masks" --url "http://127.0.0.1:$PORT"
[ -s "$folder/masks/photo.jpg.png" ]
