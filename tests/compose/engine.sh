# shellcheck shell=bash
# A container engine for the tests, to be sourced: the one that answers or, where a tool beside the checkout can
# bring one up and supply the images that cannot be pulled, that one.
engine_tool=../shared/container-engine
engine_ours=

find_engine() {
  if ! docker version >/dev/null 2>&1; then
    [ -x "$engine_tool" ] && [ "$(id -u)" = 0 ] || return 1
    "$engine_tool" up >/dev/null && engine_ours=1 || return 1
    eval "$("$engine_tool" env)"
  fi
  docker compose version >/dev/null 2>&1 || return 1
  if [ -x "$engine_tool" ] && [ "$(id -u)" = 0 ]; then
    # what the image is built from, and what compose takes as it is
    # shellcheck disable=SC2046
    "$engine_tool" images $(sed -n 's/^FROM \([^ ]*:[^ ]*\).*/\1/p' lab/Dockerfile | sort -u) \
      $(sed -n 's/^ *image: \([^$ ]*\)$/\1/p' docker-compose.yml | sort -u)
  fi
}

end_engine() {
  [ -z "$engine_ours" ] || "$engine_tool" down
}
