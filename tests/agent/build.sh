#!/usr/bin/env bash
# Builds the real Nomad agent and Nomad's example device plugin into bin/. Go's build cache makes the second time quick.
set -euo pipefail
cd "$(dirname "$0")"

# Nobody debugs Nomad here: no symbol tables. Two compilers at a time, behind whatever else runs.
nice go build -mod=readonly -trimpath -buildvcs=false -p "${JOBS:-2}" -ldflags '-s -w' -o bin/ ./cmd/agent ./cmd/fsdev
