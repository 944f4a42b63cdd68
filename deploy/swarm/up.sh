#!/usr/bin/env bash
# make up-swarm: the stack of deploy/swarm/compose.yml on the hosts of a swarm. Where there is no swarm, and a tool beside
# the checkout can bring one up (it needs root), it is asked for three hosts on this machine.
#
# Hosts of your own: a swarm whose nodes have the label host=1, host=2, … (1 keeps the store, 2 has the balancer), and
# .hosts.toml, as docs/hosts.md describes it. The images are built here and copied to the engine of each host.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/swarm/common.sh

command -v python3 >/dev/null || refuse "there is no python3 on PATH"
if [ ! -e .hosts.toml ]; then
  [ -x "$nodes_tool" ] && [ "$(id -u)" = 0 ] || refuse "there is no .hosts.toml, and no tool that could bring hosts up: docs/hosts.md says what to write into it"
  before=$(ip -o link 2>/dev/null | sed -n 's/^[0-9]*: \([^:@]*\).*/\1/p' | tr '\n' ' ' || true)
  "$nodes_tool" up 3 >/dev/null
  {
    echo "$mark $before"
    echo "# which hosts there are, where their engines answer, and how one is cut off: docs/hosts.md"
    "$nodes_tool" list | while read -r name _ engine; do
      printf '\n[[host]]\nname = "%s"\nengine = "%s"\n' "$name" "$engine"
      [ "$name" = 1 ] || printf 'cut = ["%s", "cut", "%s"]\nheal = ["%s", "heal", "%s"]\n' "$nodes_tool" "$name" "$nodes_tool" "$name"
    done
    printf '\n[store]\ncut = ["deploy/swarm/store-link.sh", "down"]\nheal = ["deploy/swarm/store-link.sh", "up"]\n'
  } >.hosts.toml
fi
find_docker
swarm=$(on_manager info --format '{{.Swarm.ControlAvailable}}' 2>&1) || refuse "the manager's engine does not answer: ${swarm%%$'\n'*}"
[ "$swarm" = true ] || refuse "the first host of .hosts.toml is no manager of a swarm: docker swarm init"
for label in 1 2; do
  [ -n "$(on_manager node ls --quiet --filter "node.label=host=$label")" ] ||
    refuse "no node has the label host=$label: docker node update --label-add host=$label NODE"
done

tag=${LAB_TAG:-local}
images=(kernel-lab:"$tag" $(sed -n 's/^ *image: \([^$ ]*\)$/\1/p' docker-compose.yml | sort -u))
if [ -x "$engine_tool" ] && [ "$(id -u)" = 0 ]; then
  # what cannot be pulled here, the tool supplies
  # shellcheck disable=SC2046
  DOCKER_HOST=$manager "$engine_tool" images "${images[@]:1}" $(sed -n 's/^FROM \([^ ]*:[^ ]*\).*/\1/p' lab/Dockerfile | sort -u) 2>/dev/null
fi
arguments=()
for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST; do
  [ -z "${!name:-}" ] || arguments+=(--build-arg "$name")
done
on_manager build --quiet -f lab/Dockerfile --target lab -t "${images[0]}" "${arguments[@]}" . >/dev/null
for image in "${images[@]:1}"; do
  on_manager image inspect "$image" >/dev/null 2>&1 || on_manager pull --quiet "$image" >/dev/null
done
for engine in $(engines | tail -n +2); do
  on_manager save "${images[@]}" | DOCKER_HOST=$engine "$docker" load --quiet >/dev/null
done

# The secrets are the swarm's own: kept encrypted by its managers, and in no file and no environment of ours.
make_secret weaver_kernel_secret "${WEAVER_KERNEL_SECRET:-}"
make_secret store_password "${LAB_STORE_PASSWORD:-}"
WEAVER_KERNEL_SECRET='' "$docker" compose --project-name "$stack" -f deploy/swarm/compose.yml config --format json |
  python3 deploy/swarm/render.py | on_manager stack deploy --detach=true --resolve-image never --prune -c - "$stack" >/dev/null

deadline=$((SECONDS + ${LAB_SWARM_PATIENCE_S:-600}))
while waiting=$(on_manager service ls --filter "label=com.docker.stack.namespace=$stack" --format '{{.Name}} {{.Replicas}}' |
  awk '{ split($2, n, "/"); if (n[1] != n[2]) print $1 }'); [ -n "$waiting" ]; do
  [ $SECONDS -lt $deadline ] || refuse "$(head -1 <<<"$waiting") does not come up: DOCKER_HOST=$manager docker service ps --no-trunc $(head -1 <<<"$waiting")"
  sleep 2
done
echo "up on $(engines | wc -l) hosts: \`make scenarios\` measures it, \`make down-swarm\` ends it"
echo "to look at it: DOCKER_HOST=$manager docker service ls"
