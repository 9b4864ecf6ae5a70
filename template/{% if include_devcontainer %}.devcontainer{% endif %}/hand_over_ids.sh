#!/bin/sh
# Runs on the host before the dev container starts. It writes your IDs to .env, so that files created in the container
# belong to you, as with make.
set -eu

[ -z "$(tail -c 1 .env 2>/dev/null)" ] || echo >>.env # the last line may have no line break
for line in "APP_UID=$(id -u)" "APP_GID=$(id -g)"; do
    grep -q "^${line%%=*}=" .env 2>/dev/null || printf '%s\n' "$line" >>.env
done
