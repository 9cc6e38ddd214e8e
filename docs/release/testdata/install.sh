#!/bin/sh
# Installs, upgrades, removes and purges a package of the kind that dpkg reads, on this machine as seen
# through an overlay, so that nothing of it stays: install.sh DIR PACKAGE VARIANT, in a mount namespace
# of its own. The variant plain takes the machine as it is; without-sysusers hides systemd-sysusers;
# with-systemd has a systemctl that only writes down how it is called.
set -eu
mount -t tmpfs none "$1"
cd "$1"
mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
mount -t proc none root/proc
cp "$2" root/package.deb
cat >root/inside.sh <<'INSIDE'
set -eu
case "$1" in
plain) command -v systemd-sysusers ;;
without-sysusers)
	for program in $(command -v systemd-sysusers); do rm "$program"; done
	;;
with-systemd)
	mkdir -p /run/systemd/system
	rm -f "$(command -v systemctl)"
	printf '#!/bin/sh\necho systemctl "$@"\n' >/usr/bin/systemctl
	chmod +x /usr/bin/systemctl
	;;
esac
echo "= install"
dpkg -i package.deb
stat -c '%A %U %G %n' /etc/token-sidecar /etc/token-sidecar/* /usr/bin/token-sidecar
getent passwd token-sidecar | sed -E 's/:[0-9]+:[0-9]+:/:N:N:/'
token-sidecar version
# It succeeds in spite of lines that systemd would ignore, and also tells of other units.
unit=/usr/lib/systemd/system/token-sidecar.service
faults=$(systemd-analyze verify $unit 2>&1 || echo "token-sidecar.service is refused")
echo "$faults" | grep token-sidecar || echo "the unit is right"
echo "= upgrade"
echo "SIDECAR_LISTEN=127.0.0.1:1" >>/etc/token-sidecar/token-sidecar.env
dpkg -i package.deb
tail -n 1 /etc/token-sidecar/token-sidecar.env
echo "= remove"
dpkg -r token-sidecar
[ ! -e /usr/bin/token-sidecar ] && ls /etc/token-sidecar
echo "= purge"
dpkg -P token-sidecar
find /etc /usr /var/lib -name '*token-sidecar*' -cnewer /package.deb
getent passwd token-sidecar >/dev/null && echo "the user stays"
INSIDE
chroot root sh /inside.sh "$3"
