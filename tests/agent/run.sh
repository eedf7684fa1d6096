#!/usr/bin/env bash
# `just agent`: a real Nomad agent with Yurt as its plugin, and the drills. Arguments go to `go test`, such as -run Kills.
# Root and Go 1.26 or newer. Without them: skipped with one line, or failed where CI=true.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

missing() {
    echo "tests/agent: skipped: $1" >&2
    [ "${CI:-}" = true ] && exit 1 || exit 0
}
command -v go >/dev/null || missing "Go is not installed (1.26 or newer; go.dev/dl)"
# A Go from 1.21 on fetches the version that go.mod asks for by itself.
(cd "$here" && go version) >/dev/null || missing "this Go cannot provide the version that tests/agent/go.mod asks for"
[ "$(id -u)" = 0 ] || missing "needs root: raw_exec tasks and the agent's cgroups"

"$here/build.sh"
if [ -z "${YURT_BIN:-}" ]; then
    cargo build --quiet --package yurt
    export YURT_BIN="$PWD/target/debug/yurt"
fi
YURT_BIN=$(realpath "$YURT_BIN")
export YURT_BIN
cd "$here"
go vet ./rig ./drills
# Two agents at a time: they wait more than they work.
exec go test ./drills -count=1 -parallel 2 -timeout 15m "$@"
