#!/bin/sh
# Usage: tests/fuzz/run.sh SECONDS [TARGET...]
# Builds the fuzz preset and runs each target (default: all) for SECONDS, two at a time, starting from its corpus. Fails
# when one crashes, hangs or takes too much memory; the input is then in build/fuzz/findings/TARGET.
# Nothing is written to the source tree.
set -eu

seconds=${1:?usage: run.sh SECONDS [TARGET...]}
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build/fuzz

cd "$root"
cmake --preset fuzz >/dev/null
cmake --build "$build" --target fuzz-targets

if [ $# -eq 0 ]; then
  for program in "$build"/bin/fuzz-*; do
    name=${program##*/fuzz-}
    set -- "$@" "$name"
  done
fi

# Less memory for freed blocks and stack traces, so that the limit below measures the target.
ASAN_OPTIONS=quarantine_size_mb=16:malloc_context_size=8
export ASAN_OPTIONS

# run TARGET: its output when it has ended, so that those of two do not mix.
run() {
  found=$build/findings/$1
  mkdir -p "$found/corpus"
  status=0
  "$build/bin/fuzz-$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
    -max_len=65536 -print_final_stats=1 -verbosity=0 -artifact_prefix="$found/" \
    "$found/corpus" "$root/tests/fuzz/corpus/$1" >"$found/log" 2>&1 || status=$?
  echo "== $1: $seconds s"
  cat "$found/log"
  return $status
}

failed=
while [ $# -gt 0 ]; do
  first=$1
  second=${2:-}
  shift
  run "$first" &
  pid=$!
  if [ -n "$second" ]; then
    shift
    run "$second" || failed="$failed $second"
  fi
  wait "$pid" || failed="$failed $first"
done
if [ -n "$failed" ]; then
  echo "fuzzing failed:$failed (inputs in $build/findings)" >&2
  exit 1
fi
