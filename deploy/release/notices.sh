#!/bin/sh
# Prints the licences of what is linked into the program, which ask to be passed on
# with it: in the archives, in the package and in the image.
set -eu
cd "${0%/*}/../.."
go=${GO:-go}
modules=$("$go" list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' .)
modules=$(printf '%s\n' "$modules" | sort -u)
runtime="Go $("$go" env GOVERSION) $("$go" env GOROOT)"
echo "welcomed is linked with the following. Their licences ask to be passed on."
printf '%s\n' "$modules" "$runtime" |
  while read -r path version directory; do
    [ -n "$path" ] || continue
    printf '\n\n==== %s %s\n' "$path" "$version"
    for file in "$directory"/LICEN[SC]E* "$directory"/COPYING* "$directory"/NOTICE*; do
      [ ! -f "$file" ] || { echo; cat "$file"; }
    done
  done
