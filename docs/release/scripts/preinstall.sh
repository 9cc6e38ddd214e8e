#!/bin/sh
# Creates the user and the group token-sidecar before the files are unpacked, so that the package
# manager finds the user to whom the directory of the secrets belongs. A user that is there stays as it is.
set -e
if command -v systemd-sysusers >/dev/null 2>&1; then
	systemd-sysusers --replace=/usr/lib/sysusers.d/token-sidecar.conf --inline 'u token-sidecar - "token-sidecar"'
else
	getent group token-sidecar >/dev/null || groupadd --system token-sidecar
	getent passwd token-sidecar >/dev/null || useradd --system --gid token-sidecar --no-create-home \
		--home-dir / --shell /usr/sbin/nologin --comment token-sidecar token-sidecar
fi
