#!/bin/sh
# The image of a stage is the cache for the next build.
set -eu

docker build --tag "$IMAGE-dependencies" --push --target dependencies \
    --cache-from "$IMAGE-dependencies" --cache-to type=inline .
docker build --tag "$IMAGE" --cache-from "$IMAGE-dependencies" .
docker push "$IMAGE"
