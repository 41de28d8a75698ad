#!/usr/bin/env bash
# Builds the release twice and compares: in directories of different length, at
# different times, with other time zones, languages, umasks, file times and users'
# homes. COLD=1 lets the second compile everything anew.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
first=$work/a second=$work/another/place/with/a/longer/name

copy() {
  mkdir -p "$1"
  git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$1"
}

cache=$(go env GOCACHE) modules=$(go env GOMODCACHE)
[ -z "${COLD:-}" ] || cache=$work/cache

copy "$first"
(cd "$first" && deploy/release/build.sh out) > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
sleep 2
copy "$second"
find "$second" -exec touch -d '2001-02-03 04:05:06' {} +
(cd "$second" && umask 077 && mkdir -p home && HOME=$PWD/home GOCACHE=$cache GOMODCACHE=$modules TZ=Pacific/Kiritimati \
  LC_ALL=C.UTF-8 TMPDIR=$PWD/home GOMAXPROCS=1 deploy/release/build.sh out) > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }

differ=0
diff <(ls "$first/out") <(ls "$second/out") || differ=1
for file in "$first"/out/*; do
  cmp "$file" "$second/out/${file##*/}" || differ=1
done
[ $differ = 0 ] || { echo "the two builds differ"; exit 1; }
echo "two builds, $(ls "$first/out" | wc -l) files each: the same bytes"
cat "$first/out/SHA256SUMS"
