#!/bin/sh
# A new machine does not have this folder.
set -eu

docker build --tag "$IMAGE" --push --cache-from type=local,src=/tmp/cache --cache-to type=local,dest=/tmp/cache,mode=max .
