#!/bin/sh
# The job of a CI system: it builds the image IMAGE of the folder and pushes it. Docker knows nothing but the base image.
set -eu

docker build --tag "$IMAGE" .
docker push --quiet "$IMAGE"
