#!/bin/bash
# cgroups.sh BUILD_DIR: the unit tests of cgroups, and the device policy of a real container, in a virtual machine with
# cgroup v2, which the machine that runs the other tests may not have. Needs root and what vm-run.sh needs; ends with
# status 0 when all was as expected and nothing was left.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/vm/pack.sh
source "$here/pack.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pack "$work" "${1:?usage: cgroups.sh BUILD_DIR}" warden warden-privhelper warden-frontend warden-wshd \
  privhelper-cgroups-test

cat >"$work/inside.sh" <<'INSIDE'
set -euo pipefail
expect() { [[ $2 == "$3" ]] || { echo "$1: got '$2', wanted '$3'"; exit 1; }; echo "ok: $1"; }
source install.sh
cd "$bin"
expect 'cgroup v2' "$(stat -fc %T /sys/fs/cgroup)" cgroup2fs
./privhelper-cgroups-test --gtest_brief=1

"$source/rootfs-tools/warden-rootfs" busybox /opt/image 2>/dev/null
printf '%s\n' 'server:' '  unix_domain_path: /run/warden.sock' '  container_rootfs_path: /opt/image' \
  '  container_depot_path: /opt/depot' >/opt/warden.yml
./warden-privhelper --config /opt/warden.yml & server=$!
for _ in $(seq 100); do [[ -S /run/warden.sock ]] && break; sleep 0.1; done
export WARDEN_SOCKET=/run/warden.sock
handle=$(./warden create)
dev=/proc/$(cat "/opt/depot/$handle/run/wshd.pid")/root/dev
mknod -m 666 "$dev/zero2" c 1 5
mknod -m 666 "$dev/loop" c 10 237
mknod -m 666 "$dev/disk" b 254 0
for how in run 'run --privileged'; do
  expect "$how: an allowed node opens" "$(./warden $how "$handle" 'head -c 4 /dev/zero2 | wc -c')" 4
  for node in loop disk; do
    expect "$how: $node does not" "$(./warden $how "$handle" "(: </dev/$node) 2>&1 | grep -c 'Operation not permitted'")" 1
  done
  expect "$how: jobs are killed before wshd" "$(./warden $how "$handle" 'sleep 0.2; cat /proc/self/oom_score_adj')" 500
done
# The device filter and the limits of a container outlive the server that made it.
kill -KILL $server; wait $server || true
./warden-privhelper --config /opt/warden.yml & server=$!
for _ in $(seq 100); do ./warden ping 2>/dev/null && break; sleep 0.1; done
expect 'the next server serves it' "$(./warden run "$handle" 'head -c 4 /dev/zero2 | wc -c')" 4
expect 'and its filter holds' "$(./warden run --privileged "$handle" '(: </dev/disk) 2>&1 | grep -c "Operation not permitted"')" 1
./warden destroy "$handle"
expect 'nothing is left of it' "$(find /sys/fs/cgroup/warden -mindepth 1 -type d)" ''
kill -TERM $server; wait $server || true
expect 'no cgroup is left' "$(find /sys/fs/cgroup -maxdepth 1 -name 'warden*')" ''
INSIDE

"$here"/vm-run.sh -t 300 -d "$work" -- bash inside.sh
