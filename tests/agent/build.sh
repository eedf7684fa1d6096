#!/usr/bin/env bash
# Builds the programs of cmd/ into bin/, or only those named: `build.sh fsdev`. Go's build cache makes the second time quick.
#   agent     the real Nomad agent
#   fsdev     Nomad's example device plugin, the peer of `just bench`
#   drivers   Nomad's raw_exec and exec as external plugins, peers of `just bench` and of the conformance rows
set -euo pipefail
cd "$(dirname "$0")"

[ $# -gt 0 ] || set -- agent fsdev drivers
# Half of what is compiled are SDKs of clouds for finding servers, which never run here: not optimised, a sixth less time.
# No -trimpath, so that `go test` finds the standard library compiled. Nobody debugs Nomad here: no symbol tables.
unrun=(github.com/aws github.com/Azure github.com/softlayer github.com/vmware github.com/envoyproxy cloud.google.com google.golang.org/api)
flags=()
for path in "${unrun[@]}"; do flags+=("-gcflags=$path/...=-N -l"); done
# Two compilers at a time, behind whatever else runs.
nice go build -mod=readonly -buildvcs=false -p "${JOBS:-2}" -ldflags '-s -w' "${flags[@]}" -o bin/ "${@/#/./cmd/}"
