#!/bin/bash
# audit.sh BUILD_DIR: the audit trail with a real systemd, in a virtual machine: units of clients, and the copy in the
# journal. Debian 12's kernel has no SO_PEERPIDFD. Needs root and what vm-run.sh needs; status 0: all as expected.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/vm/pack.sh
source "$here/pack.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pack "$work" "${1:?usage: audit.sh BUILD_DIR}" warden warden-privhelper warden-frontend warden-wshd

cat >"$work/inside.sh" <<'INSIDE'
set -euo pipefail
source install.sh
expect() { [[ $2 == "$3" ]] || { echo "$1: got '$2', wanted '$3'"; exit 1; }; echo "ok: $1"; }
"$source/rootfs-tools/warden-rootfs" busybox /opt/image 2>/dev/null
mkdir -p /var/log/warden
printf '%s\n' 'server:' '  unix_domain_path: /run/warden.sock' '  unix_domain_permissions: 0777' \
  '  container_rootfs_path: /opt/image' '  container_depot_path: /opt/depot' \
  'logging: {file: /var/log/warden/log}' 'audit: {journald: true}' >/opt/warden.yml
systemd-run --quiet --unit=warden-under-test "$bin/warden-privhelper" --config /opt/warden.yml
for _ in $(seq 100); do [[ -S /run/warden.sock ]] && break; sleep 0.1; done
export WARDEN_SOCKET=/run/warden.sock
client() { systemd-run --quiet --wait --pipe --setenv=WARDEN_SOCKET=/run/warden.sock "$@"; }

useradd --no-create-home agent
handle=$(client --unit=agent.service --uid=agent "$bin/warden" create)
systemd-run --quiet --scope --unit=agent-of-root.scope "$bin/warden" run "$handle" true
sleep 1
last() { grep "\"request\":\"$2\"" "/var/log/warden/log.$1" | tail -1 | grep -o '"peer":{[^}]*}' | sed 's/"pid":[0-9]*/"pid":N/'; }
uid=$(id -u agent) gid=$(id -g agent)
peer="\"peer\":{\"pid\":N,\"uid\":$uid,\"gid\":$gid,\"executable\":\"$bin/warden\",\"unit\":\"agent.service\"}"
expect "the client's unit and program, by the frontend's record" "$(last requests create)" "$peer"
expect "and by the helper's" "$(last audit create)" "$peer"
expect "root's in a scope" "$(last requests stream)" \
  "\"peer\":{\"pid\":N,\"uid\":0,\"gid\":0,\"executable\":\"$bin/warden\",\"unit\":\"agent-of-root.scope\"}"

"$bin/warden" destroy "$handle"
systemctl stop warden-under-test
journalctl --sync
for trail in audit requests; do
  file=/var/log/warden/log.$trail
  while IFS= read -r line; do
    digest=$(printf %s "$line" | sha256sum | cut -d' ' -f1)
    seq=${line#*\"seq\":} seq=${seq%%,*}
    found=$(journalctl -q -o cat --output-fields=MESSAGE SYSLOG_IDENTIFIER=warden-audit "WARDEN_SHA256=$digest" "WARDEN_SEQ=$seq")
    [[ $found == "$line" ]] || { echo "$trail: not in the journal: $line"; exit 1; }
  done <"$file"
  echo "ok: all $(wc -l <"$file") lines of $trail are in the journal"
done
"$bin/warden" audit verify /var/log/warden/log.audit /var/log/warden/log.requests
INSIDE

"$here"/vm-run.sh -t 300 -d "$work" -- bash inside.sh
