#!/bin/sh
# Builds the newest release again, on the newest base image, if its image has a vulnerability that a newer package fixes.
# Leaves the checkout at that release. PLATFORMS are its platforms.
set -eu

[ -n "$(git tag --list '[0-9]*')" ] || { echo "There is no release yet." && exit 0; }
image=$(sh ci/publish.sh repository):latest
docker pull --quiet "$image"
TAG=$(docker inspect --format '{{index .Config.Labels "org.opencontainers.image.version"}}' "$image")
export TAG
if make --no-print-directory scan IMAGE="$image"; then
    exit 0
fi

# In braces, because the checkout changes this file while the shell reads it.
{
    echo "Building $TAG again"
    git checkout --quiet "$TAG"
    for arch in ${PLATFORMS:-amd64}; do
        export DOCKER_DEFAULT_PLATFORM="linux/$arch"
        make --no-print-directory images smoke scan push
    done
    make --no-print-directory publish
    exit
}
