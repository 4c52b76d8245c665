#!/bin/sh
# The HTTP API with curl alone: fetches the mask of one photo, then runs two photos as a batch.
#
#     sh examples/curl.sh cat.jpg dog.jpg        # writes mask.png and results.ndjson here
#
# SEGUE_URL is the server's address; set SEGUE_KEY if the server requires a key.
set -eu
first=$1 second=$2
url=${SEGUE_URL:-http://127.0.0.1:8000}

call() { # curl; if the server refuses the request, fails and shows the problem
    if [ -n "${SEGUE_KEY:-}" ]; then
        curl -sS --fail-with-body -H "Authorization: Bearer $SEGUE_KEY" "$@"
    else
        curl -sS --fail-with-body "$@"
    fi
}

member() { # NAME: prints the string member NAME of the JSON on stdin
    tr -d '\n' | sed "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/"
}

# Submit: the server responds at once, with the job's links.
job=$(call -F "image=@$first" "$url/v1/jobs")
self=$(echo "$job" | member self)
echo "submitted: $self"

# Wait: the server responds when the job has ended, or after 30 s; in that case, ask again.
status=queued
while [ "$status" = queued ] || [ "$status" = running ]; do
    job=$(call -H 'Prefer: wait=30' "$url$self")
    status=$(echo "$job" | member status)
done
echo "ended: $status"
[ "$status" = succeeded ] || exit 1

# The mask has the size of the upright photo.
call -o mask.png "$url$(echo "$job" | member mask)"
echo "written: mask.png"

# A batch: open, append, close. Each file name is the image's custom_id.
batch=$(call -H 'Content-Type: application/json' -d '{"name": "two photos"}' "$url/v1/batches")
self=$(echo "$batch" | member self)
call -o /dev/null -F "image=@$first" -F "image=@$second" "$url$self/jobs"
batch=$(call -X POST "$url$self/close")
while [ "$(echo "$batch" | member status)" = running ]; do
    batch=$(call -H 'Prefer: wait=30' "$url$self")
done

# Its results: one line of JSON per image.
call -o results.ndjson "$url$self/results"
echo "results: $(wc -l < results.ndjson)"
