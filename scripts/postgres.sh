#!/bin/sh
# Makes sure that PostgreSQL's server programs are on this machine: the tests start private servers of their own.
set -eu
cd "$(dirname "$0")/.."
# postgresql-common creates and starts a cluster when the server package is installed; nobody needs it for the tests.
command -v initdb >/dev/null 2>&1 && exit
for directory in /usr/lib/postgresql/*/bin; do
    [ -x "$directory/initdb" ] && exit
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
fi
scripts/apt.sh postgresql
