#!/bin/sh
# nginx in front of the containers there are.
#
# nginx looks a name up once, when it reads its configuration: a container that is started again elsewhere, or one
# more of them, it would never meet. So each upstream of deployments.conf includes a file with the addresses that its
# service has in the engine's name service; they are looked up every two seconds, and nginx reads them anew when
# they change. A service without a container is an upstream that is down: its port answers 502, the others serve.
set -eu
conf=/etc/nginx/deployments.conf
members=/tmp/upstreams
services=$(sed -n "s|.*include $members/\(.*\);.*|\1|p" "$conf")
export RES_OPTIONS='timeout:1 attempts:1'

look_up() { # FOLDER: a file for every service
  for service in $services; do
    : >"$1/$service"
  done
  # one line an address, the name on its first; services without a container have none
  # shellcheck disable=SC2086
  getent ahostsv4 $services | while read -r address kind name; do
    [ "$kind" = STREAM ] || continue
    of=${name:-$of}
    # max_fails=0: nobody is taken out of turn for ten seconds because one connection was dropped
    echo "server $address:8000 max_fails=0;" >>"$1/$of"
  done
  for service in $services; do
    if [ -s "$1/$service" ]; then
      sort -u -o "$1/$service" "$1/$service"
    else
      echo 'server 127.0.0.1:9 down;' >"$1/$service"
    fi
  done
}

mkdir -p "$members" "$members.new" "$members.told"
look_up "$members"
cp "$members"/* "$members.told"/
while sleep 2; do
  look_up "$members.new"
  if ! diff -r -q "$members.new" "$members.told" >/dev/null; then
    cp "$members.new"/* "$members"/
    # a reload that fails (nginx may still be starting) is tried again
    if nginx -s reload; then cp "$members.new"/* "$members.told"/; fi
  fi
done &
exec nginx -g 'daemon off;'
