#!/bin/bash
# Runs every benchmark beside the others on this machine, prints one table with the ratios, and writes all
# figures to a JSON file. Needs root.
#
#   tests/bench/run.sh BUILD_DIR [--iterations N] [--json FILE] [--without-server]
#
# The processors are kept from halting meanwhile (/dev/cpu_dma_latency): to wake one of a virtual machine takes its
# hypervisor longer than most of what is measured, and as long as that is busy with others.
# The server is started with an image, a depot and a socket of its own below a temporary directory (TMPDIR;
# not on an overlay), and stopped at the end; nothing stays.
set -euo pipefail

usage() { sed -n '2,10s/^# \{0,1\}//p' "$0"; }
fail() { echo "run.sh: $*" >&2; exit 1; }

BUILD_DIR= ITERATIONS=200 JSON= WITH_SERVER=yes
while [[ $# -gt 0 ]]; do
  case $1 in
    --iterations) ITERATIONS=${2:?}; shift 2 ;;
    --json) JSON=${2:?}; shift 2 ;;
    --without-server) WITH_SERVER=no; shift ;;
    -h | --help) usage; exit 0 ;;
    -*) usage >&2; exit 2 ;;
    *) BUILD_DIR=$1; shift ;;
  esac
done
[[ -n $BUILD_DIR ]] || { usage >&2; exit 2; }
[[ $(id -u) == 0 ]] || fail "needs root"
BIN=$(cd "$BUILD_DIR/bin" && pwd)
JSON=${JSON:-$BUILD_DIR/bench.json}
SOURCE=$(cd "$(dirname "$0")/../.." && pwd)

WORK=$(mktemp -d "${TMPDIR:-/tmp}/warden-bench-XXXXXX")
chmod 755 "$WORK"
SERVER= CROWDED=
CGROUP_PARENT=warden-bench-server

# stop_server PID
stop_server() {
  [[ -n $1 ]] || return 0
  kill -TERM "$1" 2>/dev/null || true
  local status=0
  wait "$1" || status=$?
  [[ $status == 0 ]] || echo "run.sh: a server ended with status $status" >&2
}

stop_servers() {
  stop_server "$SERVER"
  SERVER=
  stop_server "$CROWDED"
  CROWDED=
}

clean_up() {
  stop_servers
  find /sys/fs/cgroup -maxdepth 2 -type d -name "$CGROUP_PARENT-*" -exec rmdir {} + 2>/dev/null || true
  rm -rf --one-file-system "$WORK"
}
trap clean_up EXIT

# Until the file is closed (kernel: Documentation/power/pm_qos_interface.rst).
keep_awake() {
  [[ -w /dev/cpu_dma_latency ]] || return 0
  exec {AWAKE}>/dev/cpu_dma_latency
  printf '\0\0\0\0' >&"$AWAKE"
}

make_image() {
  local tool=$BIN/warden-rootfs
  [[ -x $tool ]] || tool=$SOURCE/rootfs-tools/warden-rootfs
  "$tool" busybox "$WORK/image" >&2
}

# write_config NAME: of the server whose files are in $WORK/NAME
write_config() {
  local user=warden directory=$WORK/$1
  mkdir -m 755 "$directory" "$directory/depot"
  id -u "$user" >/dev/null 2>&1 || user=nobody
  cat >"$directory/config.yml" <<EOF
server:
  unix_domain_path: $directory/warden.sock
  container_rootfs_path: $WORK/image
  container_depot_path: $directory/depot
  job_output_limit: 209715200
  quota:
    disk_quota_enabled: false
user:
  pool_size: 1200
network:
  pool_network: 10.128.0.0/18
frontend:
  max_connections: 64
logging:
  level: warn
  file: $directory/server.log
privhelper:
  user: $user
  cgroup_parent: $CGROUP_PARENT-$1
EOF
  chmod 644 "$directory/config.yml"
}

# start_server NAME: leaves its process id in STARTED
start_server() {
  local directory=$WORK/$1
  write_config "$1"
  # unshare executes the server, so this is its process id: what it makes of network is made in a namespace of its own.
  # A thousand containers take more descriptors than a shell is given.
  ulimit -n "$(ulimit -Hn)"
  unshare --net -- "$BIN/warden-privhelper" --config "$directory/config.yml" >&2 &
  STARTED=$!
  local i
  for ((i = 0; i < 100; ++i)); do
    [[ -S $directory/warden.sock ]] && return
    kill -0 "$STARTED" 2>/dev/null || fail "the server did not start: $(cat "$directory/server.log" 2>&1)"
    sleep 0.1
  done
  fail "the server made no socket within 10 s"
}

# The server's processes, without those in containers (which are in other pid namespaces).
server_pids() {
  local own pid pids=$SERVER list=$SERVER
  own=$(readlink /proc/self/ns/pid)
  while [[ -n $list ]]; do
    local next=
    for pid in $list; do
      local child
      for child in $(cat "/proc/$pid/task/$pid/children" 2>/dev/null); do
        [[ $(readlink "/proc/$child/ns/pid") == "$own" ]] || continue
        pids+=,$child
        next+=" $child"
      done
    done
    list=$next
  done
  echo "$pids"
}

bench_server() {
  start_server quiet
  SERVER=$STARTED
  start_server crowded
  CROWDED=$STARTED
  local pids
  pids=$(server_pids)
  "$BIN/warden-bench" --socket "$WORK/quiet/warden.sock" --iterations "$ITERATIONS" --pids "$pids" \
    --crowded-socket "$WORK/crowded/warden.sock" \
    --host-shell "$(realpath "$WORK/image/bin/busybox")" --json >"$WORK/server.json"
  stop_servers
}

bench_runc() {
  command -v runc >/dev/null || return 0
  local bundle=$WORK/bundle
  mkdir "$bundle"
  (cd "$bundle" && runc spec)
  python3 - "$bundle/config.json" "$WORK/image" <<'EOF'
import json, sys
path, image = sys.argv[1:]
spec = json.load(open(path))
spec["process"]["terminal"] = False
spec["process"]["args"] = ["/bin/true"]
spec["root"] = {"path": image, "readonly": True}
json.dump(spec, open(path, "w"))
EOF
  "$BIN/warden-bench-host-shell" --shell "$(command -v runc)" --name runc --label runc_run_true \
    --iterations 30 -- --root "$WORK/runc" run -b "$bundle" "warden-bench-$$" >"$WORK/runc.json" ||
    echo "run.sh: runc does not work here; left out" >&2
}

bench_bwrap() {
  command -v bwrap >/dev/null || return 0
  "$BIN/warden-bench-host-shell" --shell "$(command -v bwrap)" --name bwrap \
    --label bwrap_unshare_all_true --iterations 100 -- --unshare-all --ro-bind "$WORK/image" / \
    --proc /proc --dev /dev /bin/true >"$WORK/bwrap.json" ||
    echo "run.sh: bwrap does not work here; left out" >&2
}

bench_floor() {
  "$BIN/warden-bench-floor" --program "$BIN/warden-wshd" --iterations "$ITERATIONS" \
    --directory "$WORK" >"$WORK/floor.json"
}

bench_host_shell() {
  "$BIN/warden-bench-host-shell" --shell "$(realpath "$WORK/image/bin/busybox")" --name sh \
    --iterations "$((5 * ITERATIONS))" >"$WORK/host.json"
}

report() {
  python3 - "$JSON" "$WORK"/{floor,host,server,runc,bwrap}.json <<'EOF'
import json, os, platform, sys

output, *parts = sys.argv[1:]
figures = {}
for part in parts:
    # Empty: a peer that does not work on this machine.
    if os.path.exists(part) and os.path.getsize(part) > 0:
        figures.update(json.load(open(part)))

def p50(name):
    return figures[name]["p50_us"] if name in figures else None

def ratio(a, b):
    return p50(a) / p50(b) if p50(a) and p50(b) else None

def plain(name, scale=1.0):
    return figures[name] * scale if name in figures else None

# name, value, target, unit, whether less is better
goals = [
    ("create / floor", ratio("create", "floor_create"), 2.0, "x", True),
    ("destroy / floor", ratio("destroy", "floor_destroy"), None, "x", True),
    ("run true / host shell", ratio("run_true", "host_shell"), 1.5, "x", True),
    ("info", p50("info") and p50("info") / 1000, 0.5, "ms", True),
    ("limit memory", p50("limit_memory") and p50("limit_memory") / 1000, 0.3, "ms", True),
    ("net in", p50("net_in_1") and p50("net_in_1") / 1000, 0.3, "ms", True),
    ("net out", p50("net_out_1") and p50("net_out_1") / 1000, 0.3, "ms", True),
    ("net in, of 1,000 containers / of 1", ratio("net_in_many", "net_in_1"), 1.2, "x", True),
    ("net out, of 1,000 containers / of 1", ratio("net_out_many", "net_out_1"), 1.2, "x", True),
    ("copy in, 1 GiB", plain("copy_in_mib_s"), 400, "MiB/s", False),
    ("copy in, 1 GiB / copy on the host", plain("copy_in_mib_s", 1 / figures.get("host_copy_mib_s", 1)), None, "x", False),
    ("copy in, 10,000 files", plain("copy_in_files_s"), 5000, "files/s", False),
    ("copy in, memory", plain("copy_in_extra_kib", 1 / 1024), 16, "MiB extra", True),
    ("run true beside a fork bomb, p95", plain("fork_bomb_p95_ratio"), 3.0, "x quiet", True),
    ("ping", p50("ping") and p50("ping") / 1000, 0.15, "ms", True),
    ("stream", plain("stream_mib_s"), 500, "MiB/s", False),
    ("idle container", plain("idle_container_pss_kib", 1 / 1024), 0.15, "MiB PSS", True),
    ("runc run true / create + run true", None, None, "x", False),
]
if all(p50(n) for n in ("runc_run_true", "create", "run_true")):
    goals[-1] = goals[-1][:1] + (p50("runc_run_true") / (p50("create") + p50("run_true")),) + goals[-1][2:]
goals = [goal for goal in goals if goal[1] is not None]

print(f"{platform.system()} {platform.release()}, {os.cpu_count()} cores\n")
print(f"{'':34}{'p50 us':>12}{'p95 us':>12}{'n':>8}")
for name, value in figures.items():
    if isinstance(value, dict):
        print(f"{name:34}{value['p50_us']:12.0f}{value['p95_us']:12.0f}{value['n']:8}")
    else:
        print(f"{name:34}{value:12.1f}")
print(f"\n{'':38}{'figure':>12}{'target':>12}")
ratios = {}
for name, value, target, unit, less in goals:
    verdict = ""
    if target is not None:
        verdict = "met" if (value <= target if less else value >= target) else "MISSED"
    shown = "" if target is None else f"{'<=' if less else '>='} {target:g}"
    print(f"{name:38}{value:12.2f}{shown:>12}  {unit} {verdict}")
    ratios[name] = {"value": round(value, 3), "unit": unit, "target": target}
json.dump({"machine": {"kernel": platform.release(), "cores": os.cpu_count()},
           "figures": figures, "ratios": ratios}, open(output, "w"), indent=2)
print(f"\nfigures: {output}")
EOF
}

make_image
keep_awake
bench_floor
# The server's own client measures the host's shell, too, in turns with jobs.
if [[ $WITH_SERVER == yes ]]; then bench_server; else bench_host_shell; fi
bench_runc
bench_bwrap
report
