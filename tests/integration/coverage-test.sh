#!/bin/bash
# coverage-test.sh: each row of COVERAGE.md names tests, and each test that the file names is there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
tests=$(grep -rhoE '^TEST(_F|_P)?\(\w+, *\w+' "$here/.." --include='*.c++' | sed -E 's/^TEST(_F|_P)?\(//; s/, */./')
wrong=0
while IFS= read -r row; do
  suite='' named=0
  while IFS= read -r name; do
    case $name in
      .*) name=$suite$name ;;                 # "`.more`": of the suite before
      [A-Z]*Test.) suite=${name%.}; continue ;;  # "`LimitCpuTest.` the same"
      [A-Z]*Test.*) suite=${name%%.*} ;;
      *) continue ;;
    esac
    named=1
    [[ $name == *'.*' ]] && name=${name%'*'} || name+=$'\n'
    [[ $tests$'\n' == *"$name"* ]] || { echo "there is no test $name" >&2; wrong=1; }
  done < <(grep -oE "\`[^\`]+\`" <<<"$row" | tr -d "\`")
  [[ $named == 1 || $row == *'| above |' ]] || { echo "no test in: $row" >&2; wrong=1; }
done < <(grep '^| ' "$here/COVERAGE.md" | grep -v '| tests |$')
exit $wrong
