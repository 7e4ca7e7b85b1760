#!/bin/sh
# Made by `spanserve bundle`: serves the bundle that this file lies in. Arguments that start with
# "-" go to `spanserve serve`, others are run in its place. PORT, if set, is the port to listen on.
set -eu

bundle=$(cd "$(dirname "$0")" && pwd)
if [ -n "${PORT:-}" ]; then
    export SPANSERVE__SERVER__PORT="${SPANSERVE__SERVER__PORT:-$PORT}"
fi

case "${1:--}" in
    -*) exec spanserve serve "$bundle" "$@" ;;
    *) exec "$@" ;;
esac
