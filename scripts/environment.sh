#!/bin/sh
# Builds .venv from the lock files: `scripts/environment.sh run|demo|dev`. Costs nothing when it is already as the locks say.
#
# Each layer is a lock file in requirements/; they are compiled against each other, so that the layers can share one
# environment. A stamp keeps the checksum of what was installed: checkouts change times, not contents. The engine that runs
# models on this machine is part of every layer, but no condition of any: not every machine can have it.
set -eu
cd "$(dirname "$0")/.."
layer=${1:?usage: environment.sh run|demo|dev}
case $layer in run | demo | dev) ;; *) echo "no such layer: $layer" >&2; exit 2 ;; esac

venv=.venv
interpreter=$venv/bin/python
stamp=$venv/.stamp-$layer

healthy() {
    "$interpreter" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 &&
        "$interpreter" -m pip --version >/dev/null 2>&1
}

create() {
    base=$(scripts/python.sh)
    rm -rf "$venv"
    "$base" -m venv "$venv" >/dev/null 2>&1 && return
    # Debian ships the venv module without ensurepip, in a package of its own.
    package=$("$base" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        scripts/apt.sh "$package" || scripts/apt.sh python3-venv
        rm -rf "$venv"
        "$base" -m venv "$venv" && return
    fi
    rm -rf "$venv"
    echo "$base cannot make a virtual environment. On Debian or Ubuntu: sudo apt-get install $package" >&2
    exit 1
}

# A PYTHON named by hand wins over an environment that another one made.
if [ -n "${PYTHON:-}" ] && [ -x "$interpreter" ]; then
    wanted=$("$(scripts/python.sh)" -c 'import sys; print(sys.version)')
    [ "$wanted" = "$("$interpreter" -c 'import sys; print(sys.version)' 2>/dev/null)" ] || rm -rf "$venv"
fi
healthy || create

# The place is part of it: an editable install points at an absolute path, and a moved or copied clone must be installed anew.
digest=$( { pwd; cat "requirements/run.lock" "requirements/$layer.lock" requirements/build.lock pyproject.toml; } | cksum)
[ "$(cat "$stamp" 2>/dev/null || true)" = "$digest" ] && exec scripts/engine.sh "$interpreter"

echo "Installing slackwater ($layer) into $venv ..." >&2
pip() { "$interpreter" -m pip --disable-pip-version-check --quiet --quiet --no-input "$@"; }
files="-r requirements/build.lock -r requirements/run.lock"
[ "$layer" = run ] || files="$files -r requirements/$layer.lock"
# shellcheck disable=SC2086  # a list of options
pip install --require-hashes $files
pip install --no-deps --no-build-isolation --editable .
echo "$digest" >"$stamp"
exec scripts/engine.sh "$interpreter"
