#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Usage: sample.sh COMMAND...
# Runs the command with the commit as its last argument, so that each commit tries another sample.
commit=$(git -C "${IOR_SOURCE_DIR:-.}" rev-parse HEAD 2>/dev/null) || commit=0
echo "sample of $commit"
exec "$@" "$commit"
