#!/bin/sh
# Puts Debian's nginx into .peers/nginx, the backend of the benchmarks, where none is installed: no package, no service.
set -eu
nginx=.peers/nginx/usr/sbin/nginx
if command -v nginx >/dev/null 2>&1 || test -x /usr/sbin/nginx || { test -x $nginx && $nginx -v 2>/dev/null; }; then
    exit
fi
echo "Fetching nginx into .peers/nginx ..." >&2
mkdir -p .peers/nginx
cd .peers/nginx
# The list on a fresh machine is empty, the one on an old machine is stale: update only where the first try fails.
apt-get download -q nginx >/dev/null 2>&1 || { apt-get update -q >/dev/null && apt-get download -q nginx >/dev/null; }
dpkg -x nginx_*.deb .
usr/sbin/nginx -v 2>/dev/null || {
    echo "Debian's nginx does not run here; the simulator is the backend: sudo apt-get install nginx-light" >&2
    exit 1
}
