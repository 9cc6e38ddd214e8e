#!/bin/sh
# Makes what Redis and the sidecar have to know of each other, in the folder secrets: a user with a
# password, the URL with both, and the key by which tokens are sealed. What exists stays.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
cd secrets
[ ! -e redis_url ] || { echo "the secrets of Redis exist" >&2; exit 0; }

password=$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
hash=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
cat > redis_users <<USERS
user default off
user sidecar on #$hash resetchannels resetkeys ~token-sidecar:* -@all +get +getrange +set +del +pttl +pexpire +eval +evalsha +time
USERS
printf 'key1:%s\n' "$(head -c 32 /dev/urandom | base64)" > redis_keys
printf 'redis://sidecar:%s@redis:6379/0\n' "$password" > redis_url
# Each container reads its files as another user. On this machine the folder keeps others out.
chmod 0644 redis_users redis_keys redis_url
