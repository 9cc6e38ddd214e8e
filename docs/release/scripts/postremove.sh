#!/bin/sh
# The user stays, since files of it may be left, and so do secrets that the operator has put into
# /etc/token-sidecar/secrets: the package does not know them.
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
