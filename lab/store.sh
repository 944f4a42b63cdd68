#!/bin/sh
# Valkey for several hosts' workers: kept on disk, behind a password.
#
# The password is LAB_STORE_PASSWORD, or what /run/secrets/store_password holds; without either it is derived from
# the kernel's secret, as lab/container.py does on the other side.
set -eu
umask 077
password=${LAB_STORE_PASSWORD:-$(cat /run/secrets/store_password 2>/dev/null || true)}
if [ -z "$password" ]; then
  secret=${LAB_STORE_SEED:-$(cat /run/secrets/store_seed 2>/dev/null || true)}
  [ -n "$secret" ] || { echo 'LAB_STORE_PASSWORD is unset, and so is WEAVER_KERNEL_SECRET: set one' >&2; exit 3; }
  password=$(printf 'kernel-lab store %s' "$secret" | sha256sum | cut -d ' ' -f 1)
fi
printf %s "$password" >/tmp/password # for the health check
cat >/tmp/valkey.conf <<EOF
bind * -::*
dir /data
# written before it is answered, synced every second: the store's death loses nothing, the machine's a second
appendonly yes
appendfsync everysec
save ""
# a full store refuses: one that evicted would forget revocations
maxmemory ${LAB_STORE_MEMORY:-256mb}
maxmemory-policy noeviction
requirepass "$(printf %s "$password" | sed 's/[\\"]/\\&/g')"
EOF
exec valkey-server /tmp/valkey.conf
