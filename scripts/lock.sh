#!/bin/sh
# Compiles requirements/*.lock anew from pyproject.toml and requirements/*.in: for maintainers, after a change of dependencies.
#
# `scripts/lock.sh --upgrade` also moves every version forward. Locks are universal (all platforms, Python 3.11 and up, or
# what their input says), carry hashes and name no index, so that they work behind any mirror.
set -eu
cd "$(dirname "$0")/.."
scripts/environment.sh dev
uv() { .venv/bin/python -m uv "$@"; }
compile() {
    uv pip compile --quiet --universal --python-version "${floor:-3.11}" --generate-hashes --no-annotate --no-header "$@"
}
floor=
upgrade=${1:-}
compile $upgrade pyproject.toml -o requirements/run.lock
compile $upgrade requirements/build.in -c requirements/run.lock -o requirements/build.lock
compile $upgrade pyproject.toml --extra local -c requirements/run.lock -c requirements/build.lock -o requirements/local.lock
for group in demo dev; do
    compile $upgrade pyproject.toml --group "$group" -c requirements/run.lock -c requirements/build.lock -o "requirements/$group.lock"
done
# Without hashes: builds of torch for CPUs alone come from other indexes under the same version.
# shellcheck disable=SC2086  # empty or one option
uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header $upgrade --group train -o requirements/train.lock
for input in requirements/sdk/py-*.in; do
    compile $upgrade "$input" -o "${input%.in}.lock"
done
for input in requirements/peers/*.in; do
    floor=$(sed -n 's/^# Python //p' "$input")
    compile $upgrade "$input" -o "${input%.in}.lock"
done
for directory in requirements/sdk/ts-*; do
    (cd "$directory" && npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts >/dev/null)
done
if grep -nE 'index-url|find-links|https?://' requirements/*.lock requirements/peers/*.lock requirements/sdk/*.lock requirements/sdk/*/package-lock.json | grep -v '"funding"' | grep -vE '"url": "https?://'; then
    echo "A lock names a host." >&2
    exit 1
fi
