#!/bin/bash
# smoke.sh BUILD_DIR: creates a container and runs jobs in a virtual machine with Debian 12's own kernel, systemd
# and cgroup v2, which the machine that runs the other tests may not have. Needs root and what vm-run.sh
# needs; ends with status 0 when all was as expected and nothing was left.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/vm/pack.sh
source "$here/pack.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pack "$work" "${1:?usage: smoke.sh BUILD_DIR}" warden warden-privhelper warden-frontend warden-wshd

cat >"$work/inside.sh" <<'INSIDE'
set -euo pipefail
source install.sh
"$source/rootfs-tools/warden-rootfs" busybox /opt/image 2>/dev/null
cd "$bin"
printf '%s\n' 'server:' '  unix_domain_path: /run/warden.sock' '  container_rootfs_path: /opt/image' \
  '  container_depot_path: /opt/depot' >/opt/warden.yml
./warden-privhelper --config /opt/warden.yml & server=$!
for _ in $(seq 100); do [[ -S /run/warden.sock ]] && break; sleep 0.1; done
export WARDEN_SOCKET=/run/warden.sock
expect() { [[ $2 == "$3" ]] || { echo "$1: got '$2', wanted '$3'"; exit 1; }; echo "ok: $1"; }
expect 'cgroup v2' "$(stat -fc %T /sys/fs/cgroup)" cgroup2fs
handle=$(./warden create)
expect 'a job is vcap' "$(./warden run "$handle" 'id -un')" vcap
expect 'a privileged job is root' "$(./warden run --privileged "$handle" 'id -u')" 0
expect 'its cgroup is its root' "$(./warden run "$handle" 'cat /proc/self/cgroup')" 0::/
expect 'pids are limited' "$(cat "/sys/fs/cgroup/warden/instance-$handle/pids.max")" 4096
expect 'root is not root on the host' "$(awk '/^Uid/{print ($2 > 0)}' "/proc/$(cat "/opt/depot/$handle/run/wshd.pid")/status")" 1
./warden destroy "$handle"
kill -TERM $server
wait $server
expect 'nothing is left in the depot' "$(find /opt/depot -mindepth 1 -not -name .removed -not -name .highest-id)" ''
expect 'no cgroup is left' "$(find /sys/fs/cgroup -maxdepth 1 -name warden)" ''
INSIDE

"$here"/vm-run.sh -t 180 -d "$work" -- bash inside.sh
