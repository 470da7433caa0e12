#!/usr/bin/env bash
# Builds the stand-in images from Debian's packages. Needs root, debootstrap and a Docker daemon.
#   compose/standin/build.sh          prints NAME_IMAGE=… for each image that it has built
set -euo pipefail
cd "$(dirname "$0")"
export DOCKER_BUILDKIT=1

docker="${DOCKER:-docker}"
base=authcache-standin/debian:trixie
certificates="${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}"

if ! "$docker" image inspect "$base" >/dev/null 2>&1; then
    root="$(mktemp -d)"
    trap 'rm -rf "$root"' EXIT
    echo "debootstrap trixie" >&2
    # Without a mirror named, debootstrap takes the one that it was built with.
    debootstrap --variant=minbase --include=ca-certificates trixie "$root/debian" \
        ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$root/log" 2>&1 || { tail -n 20 "$root/log" >&2; exit 1; }
    rm -rf "$root"/debian/var/cache/apt/archives/*.deb "$root"/debian/var/lib/apt/lists/*
    tar -C "$root/debian" -c . | "$docker" import - "$base" >/dev/null
fi

# A copy of what is needed and no more: the machine's certificates must not lie in the project.
context="$(mktemp -d)"
trap 'rm -rf "$context" "${root:-}"' EXIT
cp Dockerfile postgres-entrypoint.sh "$context"
cp "$certificates" "$context/ca-certificates.crt"

build() {
    local target="$1" tag="authcache-standin/$1:$2"
    if ! "$docker" build --quiet --target "$target" --build-arg BASE="$base" --tag "$tag" \
        "$context" >"$context/$target.log" 2>&1; then
        cat "$context/$target.log" >&2
        return 1
    fi
    echo "${target^^}_IMAGE=$tag"
}

jobs=()
for image in python:3.13 postgres:17 redis:8 prometheus:2.53 haproxy:3.0; do
    build "${image%:*}" "${image#*:}" &
    jobs+=($!)
done
for job in "${jobs[@]}"; do
    wait "$job"
done
