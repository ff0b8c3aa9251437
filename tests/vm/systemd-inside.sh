#!/bin/bash
# systemd-inside.sh: what systemd.sh runs in the machine, before the reboot and after it.
# shellcheck disable=SC2016,SC2154 # scripts of jobs; source is of install.sh
set -euo pipefail
export WARDEN_SOCKET=/run/warden/warden.sock
depot=/opt/depot
cgroups=/sys/fs/cgroup/system.slice/warden-containers.service
failed() {
  echo "FAILED: $1"
  journalctl --no-pager -q -n 40 -u 'warden*' || true
  tail -n 12 /var/log/warden/warden.log /var/log/warden/warden.log.audit || true
  exit 1
}
expect() { [[ $2 == "$3" ]] || failed "$1: got '$2', wanted '$3'"; echo "ok: $1"; }
await() { # WHAT COMMAND...: true within 20 s
  local what=$1
  shift
  for _ in $(seq 200); do "$@" >/dev/null 2>&1 && { echo "ok: $what"; return; }; sleep 0.1; done
  failed "$what"
}
main_of() { systemctl show -P MainPID "$1"; }
is_new() { [[ $(main_of "$1") != 0 && $(main_of "$1") != "$2" && $(systemctl is-active "$1") == active ]]; }
health() { # of the port below: the first line of the answer
  exec 3<>/dev/tcp/127.0.0.1/8900
  printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$1" >&3
  timeout 20 head -n 1 <&3 | tr -d '\r'
  exec 3<&-
}
list() { timeout 20 warden list | sort | tr '\n' ' '; }

after_reboot() {
  expect 'a reboot: the server has not been started by hand' "$(systemctl is-active warden.socket)" active
  started=$(date +%s%N)
  expect 'it serves at once, and knows no container' "$(list)" ''
  echo "   after $((($(date +%s%N) - started) / 1000000)) ms"
  # shellcheck disable=SC2317,SC2143
  nothing_stale() {
    [[ -z $(find "$depot" -mindepth 1 -not -name .removed -not -name .highest-id) ]] &&
      ! grep -q "$depot/" /proc/self/mountinfo && [[ -z $(ip -o link | grep ' w-') ]] &&
      [[ -z $(find "$cgroups" -name 'instance-*') ]] && ! nft list set inet warden sent | grep -q w-
  }
  await 'nothing stale is left' nothing_stale
  handle=$(warden create)
  expect 'a container can be made' "$(warden run "$handle" 'echo fine')" fine
  warden destroy "$handle"
}

if [[ -e /opt/rebooted ]]; then
  after_reboot
  exit 0
fi

# shellcheck source=/dev/null
source install.sh
cp -a installed/. /
"$source/rootfs-tools/warden-rootfs" busybox /opt/image 2>/dev/null
systemd-sysusers
systemd-tmpfiles --create
mkdir -p /etc/warden
printf '%s\n' 'server:' '  unix_domain_path: /run/warden/warden.sock' '  container_rootfs_path: /opt/image' \
  "  container_depot_path: $depot" 'logging: {file: /var/log/warden/warden.log}' \
  'health_check_server: {port: 8900}' >/etc/warden/warden.yml
systemctl daemon-reload
expect 'the units are in order' \
  "$(systemd-analyze verify warden.socket warden-privhelper.service warden-frontend.service 2>&1 | grep -i warden)" ''
systemctl enable -q --now warden.socket warden-privhelper.socket
expect 'the socket belongs to its group' "$(stat -c '%U:%G %a' $WARDEN_SOCKET)" 'root:warden-clients 660'
expect 'nothing runs yet' "$(systemctl is-active warden-frontend warden-privhelper | tr '\n' ' ')" 'inactive inactive '
handle=$(timeout 60 warden create) || failed 'a client starts the server'
expect 'a client has started both' "$(systemctl is-active warden-frontend warden-privhelper | tr '\n' ' ')" 'active active '
expect 'the container is in the delegated cgroup' \
  "$(sed 's/.*:://' "/proc/$(cat "$depot/$handle/run/wshd.pid")/cgroup")" \
  "/system.slice/warden-containers.service/warden/instance-$handle"
for path in /healthz /metrics; do expect "$path is served" "$(health $path)" 'HTTP/1.1 200 OK'; done
expect 'the frontend is user warden' "$(stat -c %U "/proc/$(main_of warden-frontend)")" warden

# A job that outlives everything.
job=$(warden spawn "$handle" 'i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo $i; sleep 0.1; done; exit 7')
wshd=$(cat "$depot/$handle/run/wshd.pid")
for unit in warden-frontend warden-privhelper; do
  for way in restart kill; do
    before=$(main_of $unit)
    if [[ $way == restart ]]; then systemctl restart $unit; else systemctl kill -s KILL --kill-who=main $unit; fi
    await "$unit: $way: it is back" is_new $unit "$before"
    expect "$unit: $way: the container is there" "$(list)" "$handle "
    kill -0 "$wshd" || failed 'wshd has ended'
    expect "$unit: $way: its process is kept by systemd" "$(systemctl show -P NFileDescriptorStore warden-privhelper)" 1
    expect "$unit: $way: it can be used" "$(warden run "$handle" 'echo yes')" yes
    expect "$unit: $way: it is healthy" "$(health /healthz)" 'HTTP/1.1 200 OK'
  done
done
systemctl stop warden.socket warden-frontend warden-privhelper
kill -0 "$wshd" || failed 'wshd has ended with the server'
expect 'stopped' "$(systemctl is-active warden-frontend warden-privhelper | tr '\n' ' ')" 'inactive inactive '
systemctl start warden.socket
expect 'a start finds the container' "$(list)" "$handle "
expect 'its process is kept by systemd again' "$(systemctl show -P NFileDescriptorStore warden-privhelper)" 1
status=0
timeout 300 warden link "$handle" "$job" >/opt/output || status=$?
expect 'the exit status of the job' $status 7
expect 'its output is whole' "$(cmp <(seq 400) /opt/output 2>&1)" ''
systemd-analyze security --no-pager warden-frontend.service | tail -1

# A reboot that nobody is told of, with containers alive.
warden create >/dev/null
warden net-in "$handle" >/dev/null
gone=$(warden create)
expect 'each container has its process kept' "$(systemctl show -P NFileDescriptorStore warden-privhelper)" 3
warden destroy "$gone"
expect 'but a destroyed one' "$(systemctl show -P NFileDescriptorStore warden-privhelper)" 2
sync
touch /opt/rebooted
sync
echo b >/proc/sysrq-trigger
sleep 60
