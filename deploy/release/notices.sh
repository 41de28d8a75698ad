#!/bin/sh
# Prints the licences of what is linked into the program, which ask to be passed on
# with it: in the archives, in the package and in the image.
set -eu
cd "$(dirname "$0")/../.."
go=${GO:-go}
echo "welcomed is linked with the following. Their licences ask to be passed on."
"$go" list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' . | sort -u |
  { cat; echo "Go $("$go" env GOVERSION) $("$go" env GOROOT)"; } |
  while read -r path version directory; do
    printf '\n\n==== %s %s\n' "$path" "$version"
    for file in "$directory"/LICEN[SC]E* "$directory"/COPYING* "$directory"/NOTICE*; do
      [ ! -f "$file" ] || { echo; cat "$file"; }
    done
  done
