#!/bin/sh
# Starts nginx in front of several web servers, with deploy/nginx/segue.conf. -tq only checks the settings.
# WEB_SERVERS: the web servers, as host:port, separated by spaces.
# SHARDS: instead, the web servers of several installations (docs/shards.md): "a=host:port,host:port b=host:port".
# RESOLVER: a DNS server that is asked again and again for their addresses (nginx 1.27.3 or newer).
# ADDRESS, PORT: where clients reach it. An ADDRESS other than 127.0.0.1 needs TLS.
# TLS_CERTIFICATE, TLS_KEY: files. If both exist, it accepts only TLS.
# LISTEN: the address to listen on, if it is not ADDRESS, as in a container.
set -eu
umask 077
program=$(command -v nginx || command -v /usr/sbin/nginx) || {
    echo "No nginx: install Debian's package nginx-light." >&2
    exit 1
}
temp="${VAR:-var}/nginx"
[ $# != 0 ] || rm -rf "$temp/body" "$temp/proxy" # a killed nginx leaves uploads and answers there
mkdir -p "$temp"
temp=$(cd "$temp" && pwd)
address="${ADDRESS:-127.0.0.1}"
listen="${LISTEN:-$address}:${PORT:-8000}"
tls=""
if [ -f "${TLS_CERTIFICATE:-}" ] && [ -f "${TLS_KEY:-}" ]; then
    listen="$listen ssl"
    tls="ssl_certificate $TLS_CERTIFICATE; ssl_certificate_key $TLS_KEY;"
elif [ "$address" != 127.0.0.1 ]; then
    echo "ADDRESS=$address lets others call, and TLS_CERTIFICATE and TLS_KEY name no files." >&2
    exit 1
fi
for shard in ${SHARDS:-}; do
    echo "$shard" | grep -Eq '^[a-z0-9]{1,8}(=[^=,]+)(,[^=,]+)*$' && continue
    echo "SHARDS: $shard is not NAME=HOST:PORT,… with a NAME of 1 to 8 of a-z and 0-9." >&2
    exit 1
done
routes=""
: > "$temp/upstreams.conf"
# A single installation is a shard without a name.
for shard in ${SHARDS:-=$(echo $WEB_SERVERS | tr ' ' ',')}; do
    name="${shard%%=*}"
    upstream="segue${name:+_$name}"
    servers=""
    for server in $(echo "${shard#*=}" | tr ',' ' '); do
        servers="$servers server $server${RESOLVER:+ resolve} max_fails=3 fail_timeout=2s;"
    done
    sed -e "s|\${UPSTREAM}|$upstream|" -e "s|\${SERVERS}|$servers|" \
        "$(dirname "$0")/nginx/upstream.conf" >> "$temp/upstreams.conf"
    routes="${routes:-default $upstream;} ~^$name\$ $upstream;"
done
user=""
[ "$(id -u)" != 0 ] || user="user root;" # otherwise the processes of root's nginx would run as nobody
sed -e "s|\${USER}|$user|" -e "s|\${TEMP}|$temp|" -e "s|\${LISTEN}|$listen|" -e "s|\${TLS}|$tls|" \
    -e "s|\${ROUTES}|$routes|" -e "s|\${RESOLVER}|${RESOLVER:+resolver $RESOLVER valid=2s;}|" \
    "$(dirname "$0")/nginx/segue.conf" > "$temp/nginx.conf"
exec "$program" -p "$temp" -e stderr -c "$temp/nginx.conf" "$@"
