#!/bin/sh
# Usage: tests/fuzz/run.sh SECONDS [TARGET...]
# Builds the fuzz preset and runs each target (default: all) for SECONDS, starting from its corpus. Fails
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

failed=
for name in "$@"; do
  found=$build/findings/$name
  mkdir -p "$found/corpus"
  echo "== $name: $seconds s"
  if ! "$build/bin/fuzz-$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
    -max_len=65536 -print_final_stats=1 -verbosity=0 -artifact_prefix="$found/" \
    "$found/corpus" "$root/tests/fuzz/corpus/$name"; then
    failed="$failed $name"
  fi
done
if [ -n "$failed" ]; then
  echo "fuzzing failed:$failed (inputs in $build/findings)" >&2
  exit 1
fi
