#!/bin/bash
# disk.sh BUILD_DIR: the unit tests of the disk backends in a virtual machine, whose kernel has project quotas, as root
# with the rights that the helper's broker has. Needs root and what vm-run.sh needs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/vm/pack.sh
source "$here/pack.sh"
pack "$work" "${1:?usage: disk.sh BUILD_DIR}" privhelper-disk-test
if program=$(command -v mkfs.btrfs); then
  cp "$program" "$work"
  ldd "$program" | awk '$3 ~ /liblzo2|libudev|libzstd|libblkid|libuuid/ {print $3}' | xargs -rI{} cp -L {} "$work"
fi
"$here"/vm-run.sh -t 400 -d "$work" -- bash -eo pipefail -c '
  source install.sh
  mkdir /opt/disk; modprobe loop; modprobe btrfs; modprobe xfs
  export WARDEN_TEST_DIR=/opt/disk PATH=$PWD:$PATH LD_LIBRARY_PATH=$PWD
  capsh --drop=cap_sys_resource -- -c "$bin/privhelper-disk-test" | tee result
  ! grep -qE "SKIPPED.*/(project|xfs)" <(grep -vE "HoweverMuch|ForItsFirstTables" result)'
