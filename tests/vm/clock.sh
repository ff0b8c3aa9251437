#!/bin/bash
# clock.sh BUILD_DIR: the host's clock is set by a day, back by a day and to 1970, in a virtual machine, while a server has
# containers, a job and a grace time that runs. Needs root and what vm-run.sh needs; status 0: all as expected.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/vm/pack.sh
source "$here/pack.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pack "$work" "${1:?usage: clock.sh BUILD_DIR}" warden warden-privhelper warden-frontend warden-wshd

cat >"$work/inside.sh" <<'INSIDE'
set -euo pipefail
source install.sh
failed() { echo "FAILED: $1"; tail -n 15 /var/log/warden/log /var/log/warden/log.audit || true; exit 1; }
expect() { [[ $2 == "$3" ]] || failed "$1: got '$2', wanted '$3'"; echo "ok: $1"; }
await() { # WHAT COMMAND...: true within 30 s
  local what=$1
  shift
  for _ in $(seq 300); do "$@" >/dev/null 2>&1 && { echo "ok: $what"; return; }; sleep 0.1; done
  failed "$what"
}
uptime() { cut -d. -f1 /proc/uptime; }
warden() { timeout 60 "$bin/warden" "$@"; }
"$source/rootfs-tools/warden-rootfs" busybox /opt/image 2>/dev/null
mkdir -p /var/log/warden
printf '%s\n' 'server:' '  unix_domain_path: /run/warden.sock' '  container_rootfs_path: /opt/image' \
  '  container_depot_path: /opt/depot' 'logging: {file: /var/log/warden/log}' 'network: {release_delay: 0}' >/opt/warden.yml
export WARDEN_SOCKET=/run/warden.sock
server=
start() { "$bin/warden-privhelper" --config /opt/warden.yml & server=$!; await 'it serves' warden ping; }
restart() { kill "-$1" "$server"; wait "$server" || true; start; }

last=
increases() { # ID: ids are of one length, and sort as they were made
  [[ $1 > $last ]] || failed "the id $1 comes after $last"
  last=$1
}
start
handle=$(warden create)
increases "$handle"
job=$(warden spawn "$handle" 'i=0; while [ ! -e /tmp/enough ]; do i=$((i+1)); echo $i; sleep 0.1; done; echo end; exit 7')

now=$(date +%s)
for jump in "$((now + 86400))" "$((now - 86400))" 3600; do
  echo "== the clock says $(date), and is set"
  # Nobody connects until it has run out.
  short=$(warden create --grace-time 15)
  increases "$short"
  began=$(uptime)
  date -s "@$jump"
  sleep 5
  expect 'a grace time does not end with the jump' "$([[ -d /opt/depot/$short ]] && echo there)" there
  # shellcheck disable=SC2317
  gone() { [[ ! -d /opt/depot/$short ]]; }
  await 'it ends' gone
  took=$(($(uptime) - began))
  [[ $took -ge 14 && $took -le 35 ]] || failed "a grace time of 15 s took $took"
  expect 'the other is served' "$(warden run "$handle" 'echo served')" served
  increases "$(warden create)"
  warden destroy "$last"
  expect 'Info is' "$(warden info --json "$handle" | grep -c '"state":"active"')" 1

  for signal in KILL TERM; do
    restart $signal
    expect "SIG$signal: the container is found" "$(warden list)" "$handle"
    expect "SIG$signal: and its job" "$(warden info --json "$handle" | grep -o "\"job_ids\":\[[^]]*\]")" "\"job_ids\":[$job]"
    # What was the highest is destroyed, and the clock behind it.
    increases "$(warden create)"
    warden destroy "$last"
  done
done

warden run --privileged "$handle" 'touch /tmp/enough'
status=0
timeout 120 "$bin/warden" link "$handle" "$job" >/opt/output || status=$?
expect 'the exit status of the job' "$status" 7
expect 'its output is whole' "$(cmp <(seq $(($(wc -l </opt/output) - 1)); echo end) /opt/output 2>&1)" ''
warden destroy "$handle"
expect 'nothing is left' "$(find /opt/depot -mindepth 1 -name '[0-9a-v]*' | head -1)" ''
kill "$server"
wait "$server"
"$bin/warden" audit verify /var/log/warden/log.audit /var/log/warden/log.requests
grep -c '"time":"1970' /var/log/warden/log.audit
INSIDE

"$here"/vm-run.sh -t 600 -d "$work" -- bash inside.sh
