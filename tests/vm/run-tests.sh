#!/bin/bash
# run-tests.sh [-t SECONDS] [-p FACTOR] BUILD_DIR TEST[=FILTER]...: runs tests of BUILD_DIR/bin in a virtual machine
# with Debian 12's own kernel, systemd, cgroup v2 and a depot on ext4 with project quota, which the machine that runs
# the other tests may not have. FILTER is gtest's.
#
#   -t SECONDS  ends the machine after that time; status 124 then (default 900)
#   -p FACTOR   how much more patience tests have than on a host: everything is emulated (default 20)
#
# Needs root and what vm-run.sh needs (tools/install-dependencies --vm). Status 0: every test passed, and nothing of a
# server was left.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/vm/pack.sh
source "$here/pack.sh"

seconds=900 patience=20
while getopts t:p: option; do
  case $option in
    t) seconds=$OPTARG ;;
    p) patience=$OPTARG ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[[ $# -ge 2 ]] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
build=$1
shift

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pack "$work" "$build" warden warden-privhelper warden-frontend warden-wshd warden-probe \
  warden-network-tool leaks-at-end "${@%%=*}"
printf '%s\n' "$@" >"$work/tests"
echo "export WARDEN_TEST_PATIENCE=$patience" >"$work/environment"

cat >"$work/inside.sh" <<'INSIDE'
set -u
set -e; source install.sh; source environment; set +e
# Packets of a server that has a network namespace of its own are logged too: kernel-log-test.
modprobe nf_log_syslog && sysctl -qw net.netfilter.nf_log_all_netns=1
failed=()
run() {
  local since=$SECONDS
  echo "== $*"
  "$@" || failed+=("$1")
  echo "== $((SECONDS - since)) s"
}
while IFS= read -r line; do
  test=${line%%=*} filter='*'
  [[ $line != *=* ]] || filter=${line#*=}
  run "$bin/$test" --gtest_brief=0 --gtest_color=no --gtest_filter="$filter"
done <tests
run "$bin/leaks-at-end"
if [[ ${#failed[@]} -gt 0 ]]; then
  echo "== the kernel's last words"
  dmesg | tail -30
  echo "FAILED: ${failed[*]}"
  exit 1
fi
echo "all passed"
INSIDE

"$here"/vm-run.sh -t "$seconds" -d "$work" -- bash inside.sh
