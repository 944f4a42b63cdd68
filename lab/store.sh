#!/bin/sh
# Valkey for several hosts' workers: kept on disk, behind a password.
#
# The password is LAB_STORE_PASSWORD, or what /run/secrets/store_password holds. Without either, the store draws one at
# random and keeps it beside its data, where the workers read it (lab/container.py). It never sees the kernel's secret.
set -eu
umask 077
password=${LAB_STORE_PASSWORD:-$(cat /run/secrets/store_password 2>/dev/null || true)}
if [ -z "$password" ]; then
  if [ ! -s /data/password ]; then
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >/data/password.new
    chmod 444 /data/password.new
    mv /data/password.new /data/password
  fi
  password=$(cat /data/password)
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
