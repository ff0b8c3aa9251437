#!/bin/bash
# rooms-test.sh SOURCE_DIR: each room includes only the rooms that docs/ARCHITECTURE.md allows it.
set -euo pipefail
cd "${1:?usage: rooms-test.sh SOURCE_DIR}"

declare -A ALLOWED=(
  [base]='base'
  [frontend]='frontend base schema'
  [privhelper]='privhelper base schema'
  [wshd]='wshd base schema'
  [client]='client base schema'
)
ROOMS='base|schema|frontend|privhelper|wshd|client|tests'
failures=0 checked=0

for room in "${!ALLOWED[@]}"; do
  while IFS=: read -r file line include; do
    checked=$((checked + 1))
    target=$(sed -E 's/.*"([^/"]+)\/.*/\1/' <<<"$include")
    if [[ " ${ALLOWED[$room]} " != *" $target "* ]]; then
      echo "$file:$line: $room/ must not include $target/"
      failures=$((failures + 1))
    fi
  done < <(grep -rnE "^#include \"($ROOMS)/" "$room" --include='*.h' --include='*.c++' --include='*.c')
done

# None of the server's programs runs another by name, or a shell.
while read -r hit; do
  echo "$hit: runs a program by name"
  failures=$((failures + 1))
done < <(grep -rnE '\b(system|popen|execlp|execvp|execvpe|posix_spawnp?)\(' frontend privhelper wshd base \
  --include='*.h' --include='*.c++' || true)

[[ $checked -gt 100 ]] || { echo "only $checked includes found: is this the source tree?"; exit 1; }
echo "$checked includes checked, $failures failures"
[[ $failures -eq 0 ]]
