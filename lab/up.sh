#!/usr/bin/env bash
# docker compose up, with one clear line for each thing that usually stops it.
set -euo pipefail
cd "$(dirname "$0")/.."

refuse() {
  echo "make up: $*" >&2
  exit 1
}

command -v docker >/dev/null || refuse "there is no docker on PATH; \`make scenarios\` needs none"
complaint=$(docker version --format '{{.Server.Version}}' 2>&1 >/dev/null) ||
  refuse "the container engine does not answer: ${complaint%%$'\n'*}"
docker compose version >/dev/null 2>&1 || refuse "docker has no compose plug-in; version 2.24 or newer is needed"
# an unset secret, a misspelt port: compose says it in one line itself
config=$(docker compose config)

# ports that the stack itself holds, when it is up already, are no obstacle
own=$(docker compose ps --status running --format '{{range .Publishers}}{{.PublishedPort}} {{end}}' nginx)
for port in $(sed -n 's/.*published: "\([0-9]*\)".*/\1/p' <<<"$config"); do
  [[ " $own " != *" $port "* ]] || continue
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    refuse "port $port is taken by another program; LAB_PORTS=9101-9110 make up takes others"
  fi
done

docker compose build
docker compose up --wait "$@"
echo "up: \`make scenarios\` measures it, \`make ps\` and \`make logs\` show it, \`make down\` ends it"
