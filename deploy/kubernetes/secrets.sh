#!/bin/sh
# Makes secrets.env for a kustomization; an existing one is kept.
#   deploy/kubernetes/secrets.sh deploy/kubernetes/base
set -eu
file="${1:?name the folder of a kustomization, e.g. deploy/kubernetes/base}/secrets.env"
[ -e "$file" ] && exit 0
umask 077
for name in POSTGRES_PASSWORD ROLE_PASSWORD REDIS_PASSWORD; do
    printf '%s=%s\n' "$name" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"
done >"$file"
