#!/bin/sh
set -eu
case ${1:--} in
    -*) set -- dockerd "$@" ;;
esac
exec "$@"
