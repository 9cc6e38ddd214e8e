#!/bin/sh
# After an installation the service is neither enabled nor started, since it has no settings yet.
# After an upgrade it is restarted if it was running.
set -e
case "$1" in
configure) before=${2:-} ;; # dpkg names the version that was configured before, if there was one
1) before= ;; # rpm counts how many versions are installed
[2-9]) before=yes ;;
*) exit 0 ;; # dpkg undoes something that has failed
esac
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
[ -z "$before" ] || systemctl try-restart token-sidecar.service
