#!/usr/bin/env bash
# Builds the programs of cmd/ into bin/, or only those named: `build.sh fsdev`. Go's build cache makes the second time quick.
#   agent   the real Nomad agent     fsdev   Nomad's example device plugin, the peer of `just bench`
set -euo pipefail
cd "$(dirname "$0")"

[ $# -gt 0 ] || set -- agent fsdev
# Nobody debugs Nomad here: no symbol tables. Two compilers at a time, behind whatever else runs.
nice go build -mod=readonly -trimpath -buildvcs=false -p "${JOBS:-2}" -ldflags '-s -w' -o bin/ "${@/#/./cmd/}"
