#!/bin/bash
# mutations.sh [-k|-n] [NAME...]: shows that each defence has a test that fails without it. Applies mutations/NAME.patch, each
# of which takes one defence away, to a copy of this tree, builds it, and runs the test that the patch names. For developers;
# an hour of a machine. Needs root, as the tests do.
#
#   -k  keeps the copy, in $WARDEN_MUTATIONS or /var/tmp/warden-mutations, so that the next run builds less
#   -n  builds and runs nothing: looks only whether each patch applies to this tree and is named in README.md. For everybody
#
# A patch begins with lines "defence: ...", "test: PROGRAM FILTER" (gtest's) and "targets: ...", what its files
# are built into. Status 0: each test passes as the tree is, and fails with its patch. The table on stdout is one line a patch.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../.." && pwd)
copy=${WARDEN_MUTATIONS:-/var/tmp/warden-mutations}
keep='' look=''
if [[ ${1:-} == -k ]]; then keep=1; shift; fi
if [[ ${1:-} == -n ]]; then look=1; shift; fi
if [[ $# -eq 0 ]]; then
  mapfile -t all < <(cd "$here/mutations" && printf '%s\n' *.patch)
  set -- "${all[@]%.patch}"
fi
if [[ $look ]]; then
  wrong=0
  for name; do
    patch -d "$tree" -p1 --fuzz=0 --quiet --dry-run <"$here/mutations/$name.patch" >/dev/null || { echo "$name does not apply"; wrong=1; }
    grep -qE "^\|.*\|([^|]*[ ,])?$name( |,)[^|]*\|\$" "$here/README.md" || { echo "$name is in no row of README.md"; wrong=1; }
  done
  exit $wrong
fi
[[ $keep ]] || trap 'rm -rf "$copy"' EXIT

export CCACHE_BASEDIR=$copy CCACHE_NOHASHDIR=1
mkdir -p "$copy"
git -C "$tree" ls-files -z | rsync -rlpt --checksum --delete --exclude=/build --from0 --files-from=- "$tree/" "$copy/"
cmake -S "$copy" --preset dev >/dev/null
log=$copy/build/mutations.log
: >"$log"

field() { sed -n "s/^$2: //p" "$here/mutations/$1.patch" | head -1; }
build() { nice cmake --build "$copy/build/dev" --parallel "$(nproc)" --target "$@" >>"$log" 2>&1; }
# A test that cannot run here at all fails nothing.
runTest() { # PROGRAM FILTER: passed, failed, or what else
  local output status=0
  output=$(timeout 600 "$copy/build/dev/bin/$1" --gtest_brief=1 --gtest_filter="$2" 2>&1) || status=$?
  printf '== %s %s: %s\n%s\n' "$1" "$2" "$status" "$output" >>"$log"
  if grep -q '^\[  FAILED  \]' <<<"$output"; then echo failed
  elif [[ $status == 0 ]] && grep -q '^\[  PASSED  \] [1-9]' <<<"$output"; then echo passed
  elif [[ $status -ge 124 ]]; then echo "ended by $status"
  else echo "status $status, and no verdict"; fi
}

wrong=0
declare -A asItIs
for name; do
  read -r program filter <<<"$(field "$name" test)"
  read -ra targets <<<"$(field "$name" targets)"
  patch=$here/mutations/$name.patch
  verdict=ok
  if [[ -z ${asItIs[$program $filter]:-} ]]; then
    build "$program" "${targets[@]}" || { echo "the tree does not build: $log" >&2; exit 1; }
    asItIs[$program $filter]=$(runTest "$program" "$filter")
  fi
  before=${asItIs[$program $filter]} after=
  if ! patch -d "$copy" -p1 --fuzz=0 --quiet --dry-run <"$patch" >>"$log" 2>&1; then
    after='the patch does not apply'
  else
    patch -d "$copy" -p1 --fuzz=0 --quiet <"$patch"
    if build "$program" "${targets[@]}"; then after=$(runTest "$program" "$filter"); else after='does not build'; fi
    patch -d "$copy" -p1 --fuzz=0 --quiet -R <"$patch"
  fi
  # Who has been killed by what the patch let happen has not passed either.
  [[ $before == passed && ($after == failed || $after == "ended by"*) ]] || { verdict=WRONG; wrong=1; }
  printf '%s | %s | %s | %s %s | as it is: %s, without: %s\n' "$verdict" "$name" "$(field "$name" defence)" "$program" "$filter" "$before" "$after"
  build "${targets[@]}" || true
done
exit $wrong
