#!/bin/sh
# Installs Debian packages when we may: `scripts/apt.sh PACKAGE ...`. Otherwise says what somebody has to install.
set -eu
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing: $*. On Debian or Ubuntu: sudo apt-get install $*" >&2
    exit 1
fi
echo "Installing $* with apt-get ..." >&2
export DEBIAN_FRONTEND=noninteractive
# The list on a fresh machine is empty, the one on an old machine is stale: update only where the first try fails.
apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1 </dev/null && exit
apt-get update -q >/dev/null </dev/null
apt-get install -y -q --no-install-recommends "$@" >/dev/null </dev/null
