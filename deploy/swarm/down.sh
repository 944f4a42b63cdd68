#!/usr/bin/env bash
# make down-swarm: end the stack, forget its volumes and secrets, and end the hosts that make up-swarm brought up.
set -euo pipefail
cd "$(dirname "$0")/../.."
make_target=down-swarm
. deploy/swarm/common.sh

[ -e .hosts.toml ] || { echo "make down-swarm: there is no .hosts.toml, so nothing is up"; exit 0; }
find_docker
if on_manager info >/dev/null 2>&1; then
  on_manager stack rm "$stack" >/dev/null 2>&1 || true
  for engine in $(engines); do
    for ((n = 0; n < 60; n++)); do
      left=$(DOCKER_HOST=$engine "$docker" ps --all --quiet --filter "label=com.docker.stack.namespace=$stack" 2>/dev/null) || break
      [ -n "$left" ] || break
      sleep 1
    done
    DOCKER_HOST=$engine "$docker" volume rm "${stack}_sqlite" "${stack}_store" >/dev/null 2>&1 || true
  done
  on_manager secret rm "${stack}_weaver_kernel_secret" "${stack}_store_password" >/dev/null 2>&1 || true
fi
if before=$(grep -F "$mark" .hosts.toml) && [ -x "$nodes_tool" ]; then
  "$nodes_tool" down
  for link in docker_gwbridge docker0; do
    # what the engine leaves behind when it ends
    if [[ " ${before#"$mark"} " != *" $link "* ]]; then ip link del "$link" 2>/dev/null || true; fi
  done
  rm -f .hosts.toml
fi
