#!/usr/bin/env bash
# `just agent`: a real Nomad agent with Yurt as its plugin, and the drills. Arguments go to `go test`, such as -run Kills.
# Root and Go 1.26 or newer. Without them: skipped with one line, or failed where CI=true.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

missing() {
    if [ "${CI:-}" = true ]; then
        echo "tests/agent: failed: $1" >&2
        exit 1
    fi
    echo "tests/agent: skipped: $1" >&2
    exit 0
}
step() { printf '\n--- %s (%d s)\n' "$1" "$SECONDS"; }

command -v go >/dev/null || missing "Go is not installed (1.26 or newer; go.dev/dl)"
# A Go from 1.21 on fetches the version that go.mod asks for by itself.
(cd "$here" && go version) >/dev/null || missing "this Go cannot provide the version that tests/agent/go.mod asks for"
[ "$(id -u)" = 0 ] || missing "needs root: raw_exec tasks and the agent's cgroups"

if [ -z "${YURT_BIN:-}" ]; then
    step "yurt, debug build"
    cargo build --package yurt
    YURT_BIN=target/debug/yurt
fi
YURT_BIN=$(realpath "$YURT_BIN")
export YURT_BIN

step "Nomad 1.11.3 from the Go module proxy; the first time takes minutes"
"$here/build.sh"

cd "$here"
step "drills"
go vet ./rig ./drills ./streaming
said=$(mktemp)
trap 'rm -f "$said"' EXIT
# Two agents at a time: they wait more than they work.
go test ./drills ./streaming -vet=off -count=1 -parallel 2 -timeout "${YURT_TEST_TIMEOUT:-15m}" "$@" | tee "$said" && exit
step "what failed, without the agents' logs"
grep -E '^ *(--- FAIL|panic:|[a-z_]+\.go:[0-9]+: )' "$said" | grep -v 'what matters of the agent' | cut -c1-600
exit 1
