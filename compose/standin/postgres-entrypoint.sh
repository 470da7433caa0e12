#!/bin/sh
# What the compose files need of the official image's entry point: a cluster made from
# POSTGRES_USER and POSTGRES_PASSWORD at the first start, then the server with its arguments.
set -eu
if [ "${1:-}" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    umask 077
    mkdir -p "$PGDATA"
    printf '%s' "${POSTGRES_PASSWORD:?must be set}" >"$PGDATA.password"
    initdb --pgdata "$PGDATA" --username "${POSTGRES_USER:-postgres}" --pwfile "$PGDATA.password" \
        --auth-local trust --auth-host scram-sha-256 --encoding UTF8 --locale C.UTF-8 >/dev/null
    rm "$PGDATA.password"
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    set -- "$@" -c 'listen_addresses=*'
fi
exec "$@"
