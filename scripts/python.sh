#!/bin/sh
# Prints the Python interpreter the recipes build their environment with: $PYTHON, else the newest of 3.13, 3.12, 3.11 and python3 that runs.
set -eu

usable() {
    # A pyenv shim is on PATH even where its version is not selected, so an interpreter counts only once it has run.
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
    usable "$PYTHON" || { echo "PYTHON=$PYTHON is not a Python 3.11 or newer." >&2; exit 1; }
    command -v "$PYTHON"
    exit
fi
for candidate in python3.13 python3.12 python3.11 python3 /usr/bin/python3; do
    if usable "$candidate"; then
        command -v "$candidate"
        exit
    fi
done
echo "slackwater needs Python 3.11 or newer, and none was found on PATH." >&2
echo "On Debian or Ubuntu: apt-get install python3 python3-venv. Or name one: make PYTHON=/path/to/python3.12 ..." >&2
exit 1
