#!/usr/bin/env bash
# store-link.sh down|up: take the store's container off its networks, and put it back. It needs root on the machine
# where the engine of host 1 runs its containers.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/swarm/common.sh
find_docker
container=$(on_manager ps --quiet --filter "label=com.docker.swarm.service.name=${stack}_store")
[ -n "$container" ] || { echo "the store does not run on the manager's host" >&2; exit 1; }
inside=(nsenter --target "$(on_manager inspect --format '{{.State.Pid}}' "$container")" --net)
for link in $("${inside[@]}" ip -o link | sed -n 's/^[0-9]*: \([^:@]*\).*/\1/p' | grep -vx lo); do
  "${inside[@]}" ip link set "$link" "$1"
done
