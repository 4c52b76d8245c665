#!/bin/sh
# Starts SeaweedFS as the S3 server of one machine, on loopback. Needs four ports, starting with S3_PORT, and each of
# these + 10000.
# S3_VACUUM_S: seconds between two vacuums, which remove the data of erased objects from the volumes.
# S3_IDENTITIES: a file of identities. Without one, S3_ACCESS_KEY may do everything.
# Only the S3 port accepts clients without a certificate (storage/roles/seaweedfs_tls.py). Listeners that are not needed
# are off: their fixed ports would keep a second server on the machine from starting.
set -eu
umask 077
var="${VAR:-var}"
port="${S3_PORT:-8333}"
mkdir -p "$var/s3"
python -m storage.roles.seaweedfs_tls "$var/secrets/s3"
if [ -z "${S3_IDENTITIES:-}" ]; then
    export AWS_ACCESS_KEY_ID="$S3_ACCESS_KEY" AWS_SECRET_ACCESS_KEY="${S3_SECRET_KEY:-$(cat "${S3_SECRET_KEY_FILE:-/dev/null}")}"
fi
exec weed -config_dir="$var/secrets/s3" mini -dir="$var/s3" -ip=127.0.0.1 -ip.bind=127.0.0.1 -s3.port="$port" \
    -master.port=$((port + 1)) -volume.port=$((port + 2)) -filer.port=$((port + 3)) -s3.port.iceberg=0 -s3.port.lance=0 \
    -master.garbageThreshold=0.000001 -master.vacuumIntervalSeconds="${S3_VACUUM_S:-3600}" \
    -webdav=false -admin.ui=false -disableHttp ${S3_IDENTITIES:+-s3.config="$S3_IDENTITIES"}
