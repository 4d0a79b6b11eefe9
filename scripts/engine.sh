#!/bin/sh
# Puts the engine in the box (xllamacpp) into an environment: `scripts/engine.sh .venv/bin/python`. Always ends well:
# where it cannot be had, slackwater works with inference servers that run elsewhere, and `slackwater doctor` says why.
set -eu
cd "$(dirname "$0")/.."
interpreter=${1:?usage: engine.sh PYTHON}
stamp=$(dirname "$(dirname "$interpreter")")/.stamp-local

digest=$( { pwd; cat requirements/local.lock; } | cksum)
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$digest" ]; then
    echo "Installing the engine for models on this machine ..." >&2
    # Built only from a wheel: compiling it takes Rust, CMake and many minutes.
    if "$interpreter" -m pip --disable-pip-version-check --quiet --quiet --no-input install --require-hashes \
        --only-binary xllamacpp -r requirements/local.lock; then
        echo "$digest" >"$stamp"
    else
        echo "The engine could not be installed on this machine; everything else works." >&2
        exit 0
    fi
fi

# The wheel leaves the OpenMP run-time library to the system, and small Linux images lack it.
if [ "$(uname -s)" = Linux ] && ! "$interpreter" -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' >/dev/null 2>&1; then
    scripts/apt.sh libgomp1 || echo "Until then no model runs on this machine; everything else works." >&2
fi
