#!/bin/sh
# Runs on the host before the dev container starts: Compose reads .env, so that files which are written in the container
# belong to who opened it. The Makefile hands over the same.
set -eu

[ "$(id -u)" -ne 0 ] || exit 0 # a server never runs as root
[ -z "$(tail -c 1 .env 2>/dev/null)" ] || echo >>.env # the last line may lack its end
for line in "APP_UID=$(id -u)" "APP_GID=$(id -g)"; do
    grep -q "^${line%%=*}=" .env 2>/dev/null || printf '%s\n' "$line" >>.env
done
