#!/bin/bash
# apparmor.sh BUILD_DIR: confinement by AppArmor in a virtual machine whose kernel has it. Needs root and what
# vm-run.sh needs; ends with status 0 when all was as expected.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/vm/pack.sh
source "$here/pack.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pack "$work" "${1:?usage: apparmor.sh BUILD_DIR}" warden warden-privhelper warden-frontend warden-wshd
cp "$here/../../privhelper/apparmor/warden-container" "$work"

cat >"$work/inside.sh" <<'INSIDE'
set -euo pipefail
trap '[[ $? == 0 ]] || dmesg | grep -i apparmor | tail' EXIT
source install.sh
expect() { [[ $2 == "$3" ]] || { echo "$1: got '$2', wanted '$3'"; exit 1; }; echo "ok: $1"; }
expect 'AppArmor' "$(cat /sys/module/apparmor/parameters/enabled)" Y
"$source/rootfs-tools/warden-rootfs" busybox /opt/image 2>/dev/null
cd "$bin"
configuration() {
  printf '%s\n' 'server:' '  unix_domain_path: /run/warden.sock' '  container_rootfs_path: /opt/image' \
    '  container_depot_path: /opt/depot' 'profiles:' "  confined: {apparmor: $1}" 'access:' '  rules: [{user: 1, profile: confined}]' \
    "privhelper: {profile: $2}" >/opt/warden.yml
}
start() {
  ./warden-privhelper --config /opt/warden.yml & server=$!
  for _ in $(seq 100); do [[ -S /run/warden.sock ]] && break; sleep 0.1; done
}
stop() { kill -TERM $server; wait $server; }
refused() { # WHAT CAUSE [PREFIX OF THE COMMAND...]
  if "${@:3}" ./warden-privhelper --config /opt/warden.yml 2>/opt/errors; then echo "$1: started"; exit 1; fi
  grep -qF "$2" /opt/errors || { cat /opt/errors; exit 1; }
  echo "ok: $1"
}
export WARDEN_SOCKET=/run/warden.sock
# dd opens without truncating, and writes nothing: only the open is refused, or is not.
memory='dd if=/dev/null of=/proc/self/mem conv=notrunc 2>&1 | grep -c "Permission denied"; true'

configuration warden-container confined
refused 'a profile that is not loaded' "the kernel has no profile 'warden-container'"
apparmor_parser --replace --complain /vm/in/warden-container
refused 'a profile that only complains' 'loaded in mode complain'
apparmor_parser --replace /vm/in/warden-container

start
handle=$(./warden create)
expect 'a job is confined' "$(./warden run "$handle" 'cat /proc/self/attr/current')" 'warden-container (enforce)'
expect 'a privileged job is confined' "$(./warden run --privileged "$handle" 'cat /proc/self/attr/current')" 'warden-container (enforce)'
pid=$(cat "/opt/depot/$handle/run/wshd.pid")
expect 'process 1 is confined' "$(cat "/proc/$pid/attr/current")" 'warden-container (enforce)'
expect 'jobs work' "$(./warden run "$handle" 'cd /tmp && echo a > f && mv f g && cat g && mkdir d && rm -r d g; id -un')" $'a\nvcap'
expect 'root works' "$(./warden run --privileged "$handle" 'touch /etc/new && chown 1:1 /etc/new && stat -c %u /etc/new')" 1
expect 'jobs have their score' "$(./warden run "$handle" 'sleep 0.2; cat /proc/self/oom_score_adj')" 500
expect 'signals among jobs' "$(./warden run "$handle" 'sleep 100 & kill $!; wait $!; echo $?')" 143
expect 'memory as a file is refused' "$(./warden run "$handle" "$memory")" 1
job=$(./warden spawn "$handle" 'sleep 1000')
./warden stop "$handle" >/dev/null
expect 'jobs are ended' "$(./warden link "$handle" "$job" >/dev/null; echo $?)" 255
./warden destroy "$handle"

# Gone while the server runs: nothing is made without it.
apparmor_parser --remove /vm/in/warden-container
if ./warden create >/opt/created 2>&1; then echo "created without its profile"; exit 1; fi
expect 'no container without its profile' "$(grep -c 'enter AppArmor profile' /opt/created)" 1
apparmor_parser --replace /vm/in/warden-container
stop

# The same container of the default profile, to tell who refuses.
configuration warden-container default
start
handle=$(./warden create)
expect 'a job is not confined' "$(./warden run "$handle" 'cat /proc/self/attr/current')" unconfined
expect 'memory as a file is not refused' "$(./warden run "$handle" "$memory")" 0
./warden destroy "$handle"
stop

# A helper that is confined itself could not confine containers (privhelper/apparmor.c++).
printf '%s\n' 'abi <abi/3.0>,' 'profile helper flags=(attach_disconnected) { file, capability, network, mount, change_profile, }' >/opt/helper.aa
apparmor_parser --replace /opt/helper.aa
configuration warden-container confined
refused 'a helper that is confined itself' 'is confined by a profile of AppArmor itself' aa-exec -p helper --
INSIDE

"$here"/vm-run.sh -t 300 -d "$work" -- bash inside.sh
