#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# ./dev bench: measures the built examples against a bare epoll loop. tools/bench/ does the work.
command -v python3 >/dev/null 2>&1 || {
    echo "bench: python3 is missing (apt-get install python3)" >&2
    exit 3
}
exec python3 -B "$(dirname "$0")/bench" "$@"
