#!/usr/bin/env bash
# make test-swarm: three hosts for real, where this machine can have them; where it cannot, it says why.
set -euo pipefail
cd "$(dirname "$0")/../.."
nodes_tool=$(cd .. && pwd)/shared/container-nodes

untested() {
  echo "make test-swarm: $1: the swarm was not tested"
  exit 0
}

[ "$(id -u)" = 0 ] || untested "bringing hosts up needs root"
[ -x "$nodes_tool" ] || untested "no tool beside the checkout brings hosts up (../shared/container-nodes)"
if [ -e .hosts.toml ] || [ -e /run/netns/cnode2 ]; then untested "hosts are up already; \`make down-swarm\` ends them"; fi
# what hosts in network namespaces need of the kernel
for kind in 'bridge' 'veth' 'vxlan id 4095 dstport 4789'; do
  if command -v ip >/dev/null; then
    # shellcheck disable=SC2086
    ip link add cnprobe type $kind 2>/dev/null || untested "this kernel has no ${kind%% *}"
    ip link del cnprobe
  fi
done
if ! docker version >/dev/null 2>&1; then
  # tried here, so that a machine without an engine is told from a swarm that fails
  "$(dirname "$nodes_tool")/container-engine" up >/dev/null || untested "no container engine can be started"
  "$(dirname "$nodes_tool")/container-engine" down
fi
LAB_TEST_SWARM=$nodes_tool .venv/bin/python -m pytest -q tests/hosts/test_three_hosts.py "$@"
