# pack.sh: sourced by what runs this tree's programs in a virtual machine.

# pack DIRECTORY BUILD_DIR PROGRAM...: copies programs of BUILD_DIR/bin, the libraries that they need and the files
# of this tree that tests read, each under its own path below DIRECTORY/tree: tests know the paths of their build.
# install.sh, beside it, puts everything in place in the machine.
pack() {
  local directory=$1 bin program library
  bin=$(cd "$2/bin" && pwd)
  shift 2
  local source=$bin
  while [[ ! -e $source/rootfs-tools/warden-rootfs ]]; do
    [[ $source != / ]] || { echo "pack.sh: $bin is not below its source tree" >&2; return 1; }
    source=$(dirname "$source")
  done

  mkdir -p "$directory/tree$bin" "$directory/lib" "$directory/tree$source"/{rootfs-tools,docs}
  for program in "$@"; do
    # Debug information would not fit the disk on which the files travel.
    strip --strip-debug -o "$directory/tree$bin/$program" "$bin/$program"
  done
  cp "$source/rootfs-tools/warden-rootfs" "$directory/tree$source/rootfs-tools"
  cp "$source/docs/SECURITY.md" "$directory/tree$source/docs"
  for program in "$@"; do
    ldd "$bin/$program" 2>/dev/null | awk '$3 ~ /^\// {print $3}' || true
  done | sort -u | while read -r library; do cp -L "$library" "$directory/lib"; done

  printf 'bin=%q\nsource=%q\n' "$bin" "$source" >"$directory/install.sh"
  cat >>"$directory/install.sh" <<'INSTALL'
# Libraries of the machine's own packages stay: they belong to its loader.
for library in lib/*; do
  [[ -e /$library || -e /lib/x86_64-linux-gnu/${library#lib/} ]] || cp "$library" /lib/x86_64-linux-gnu
done
ldconfig
chown -R root:root tree
cp -a tree/. /
id warden >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin warden
INSTALL
}
