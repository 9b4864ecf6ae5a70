#!/bin/sh
# Installs Debian packages, if any are named, and leaves nothing behind that differs from one build to the next.
set -eu

[ $# -gt 0 ] || exit 0
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "$@"
rm -rf /var/cache/ldconfig/aux-cache /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log
