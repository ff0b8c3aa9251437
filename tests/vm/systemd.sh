#!/bin/bash
# systemd.sh BUILD_DIR: the server as units of systemd, in a virtual machine: socket activation, restarts and SIGKILL of
# either service while a job runs, a stop and a start, and a reboot with containers alive. Needs root and what vm-run.sh
# needs; ends with status 0 when all was as expected.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/vm/pack.sh
source "$here/pack.sh"
build=${1:?usage: systemd.sh BUILD_DIR}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pack "$work" "$build" warden warden-privhelper warden-frontend warden-wshd
DESTDIR=$work/installed cmake --install "$build" --strip >/dev/null
cp "$here/systemd-inside.sh" "$work/inside.sh"

# The machine reboots in between: the script is run again, and goes on where it was.
"$here"/vm-run.sh -r -t 600 -d "$work" -- bash inside.sh
