# shellcheck shell=bash
# What up.sh, down.sh and store-link.sh share; to be sourced in the checkout's root.
nodes_tool=$(cd .. && pwd)/shared/container-nodes
engine_tool=$(cd .. && pwd)/shared/container-engine
stack=kernel-lab
mark='# made by make up-swarm; the network links that were there before:'

refuse() {
  echo "make ${make_target:-up-swarm}: $*" >&2
  exit 1
}

engines() { # the engines of .hosts.toml, the manager's first
  sed -n 's/^engine = "\(.*\)"$/\1/p' .hosts.toml
}

find_docker() {
  manager=$(engines | head -1)
  docker=$(command -v docker || true)
  [ -n "$docker" ] || refuse "there is no docker on PATH"
}

on_manager() {
  DOCKER_HOST=$manager "$docker" "$@"
}

make_secret() { # NAME VALUE: a swarm secret, unless there is one; of no value a random one
  on_manager secret inspect "${stack}_$1" >/dev/null 2>&1 && return
  printf %s "${2:-$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')}" | on_manager secret create "${stack}_$1" - >/dev/null
}
