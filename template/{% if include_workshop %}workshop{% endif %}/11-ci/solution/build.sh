#!/bin/sh
# The job of a CI system. It builds the image $IMAGE from the project's Dockerfile and
# pushes it. The machine has no image except the base image.
set -eu

docker build --tag "$IMAGE" --push \
    --cache-from "type=registry,ref=$IMAGE-cache" \
    --cache-to "type=registry,ref=$IMAGE-cache,mode=max" .
