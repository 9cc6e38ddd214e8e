#!/bin/sh
# Before a removal the service is stopped and disabled. Before an upgrade nothing is done.
set -e
case "$1" in
remove | 0) ;; # the argument of dpkg, and of rpm
*) exit 0 ;;
esac
[ -d /run/systemd/system ] || exit 0
systemctl --no-reload disable --now token-sidecar.service
