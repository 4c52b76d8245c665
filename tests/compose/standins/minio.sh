#!/bin/sh
# Takes MinIO's command line: `server FOLDER`.
set -eu
database="sqlite3://$2/meta.db"
[ -e "$2/meta.db" ] || juicefs format --storage file --bucket "$2/files" --trash-days 0 "$database" standin > /dev/null
exec juicefs gateway --no-usage-report --no-banner --multi-buckets --keep-etag --object-meta --metrics 127.0.0.1:0 \
    --log /tmp/gateway.log --cache-dir memory "$database" 0.0.0.0:9000
