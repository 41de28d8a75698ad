#!/usr/bin/env bash
# Builds what a release consists of into a directory: build.sh DIRECTORY. The same
# sources, VERSION, SOURCE_DATE_EPOCH and tools give the same bytes, wherever and
# whenever.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p "$1"
out=$(realpath "$1")
version=${VERSION:?is the version to build}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:?is the time of the version, in seconds}
export LC_ALL=C TZ=UTC CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOAMD64=v1 GOARM64=v8.0
umask 022
go=${GO:-go}
sbom=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# debian_version makes of v1.2.3, v1.2.3-rc.1, v1.2.3-5-gabc123 or abc123, with or
# without -dirty, what dpkg takes for a version and sorts as they follow each other.
debian_version() {
  sed -E -e 's/-dirty$/+dirty/' -e 's/^v//' -e 's/-([0-9]+)-g([0-9a-f]+)/+\1.g\2/' \
    -e '/^[0-9]+\.[0-9]/!s/^/0~'"$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S)"'+/' -e 's/-/~/g' <<<"$1"
}

# compile builds NAME for what the rest says.
compile() {
  local name=$1; shift
  mkdir -p "$work/bin/$name"
  env "$@" "$go" build -trimpath -ldflags="-s -w -X welcomed/cli.version=$version" -o "$work/bin/$name/welcomed" .
}

# packed is what comes with each binary, below $work/common.
packed() {
  local common=$work/common shell file
  mkdir -p "$common/completion"
  cp README.md CHANGELOG.md "$common"
  for file in LICENSE*; do [ ! -f "$file" ] || cp "$file" "$common"; done
  GO=$go deploy/release/notices.sh > "$common/THIRD-PARTY"
  cp deploy/systemd/welcomed.service "$common"
  for shell in bash zsh fish; do
    "$work/bin/host/welcomed" completion $shell > "$common/completion/$shell"
  done
  "$work/bin/host/welcomed" man > "$common/welcomed.1"
}

# archive packs a directory below $work, alike whoever does it.
archive() {
  tar -C "$work" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=ustar -cf - "$1" | gzip -9n
}

tarball() {
  local name=welcomed_${version}_$1
  mkdir "$work/$name"
  cp -r "$work/bin/$1/welcomed" "$work/common/." "$work/$name"
  archive "$name" > "$out/$name.tar.gz"
  rm -r "${work:?}/$name"
}

# put installs a file of the package, compressed if the name says so, below $root.
put() {
  case $2 in
    *.gz) mkdir -p "$(dirname "$root$2")" && gzip -9n < "$1" > "$root$2" && chmod 0644 "$root$2";;
    *) install -D -m "${3:-0644}" "$1" "$root$2";;
  esac
}

# package makes the Debian package of an architecture, of the binary NAME.
package() {
  local architecture=$1 name=$2 root=$work/deb/$1 doc=/usr/share/doc/welcomed common=$work/common file
  put "$work/bin/$name/welcomed" /usr/bin/welcomed 0755
  put deploy/systemd/welcomed.service /usr/lib/systemd/system/welcomed.service
  put deploy/debian/welcomed.env /etc/welcomed/welcomed.env 0640
  put deploy/debian/copyright $doc/copyright
  put "$common/THIRD-PARTY" $doc/third-party.gz
  put CHANGELOG.md $doc/changelog.gz
  put <(debian_changelog) $doc/changelog.Debian.gz
  put README.md $doc/README.md
  put deploy/systemd/low-port.conf $doc/examples/low-port.conf
  for file in $(find deploy/prometheus deploy/grafana deploy/caddy deploy/nginx deploy/haproxy -type f ! -name '*_test.yml'); do
    put "$file" "$doc/examples/${file#deploy/}"
  done
  put "$common/welcomed.1" /usr/share/man/man1/welcomed.1.gz
  put "$common/completion/bash" /usr/share/bash-completion/completions/welcomed
  put "$common/completion/zsh" /usr/share/zsh/vendor-completions/_welcomed
  put "$common/completion/fish" /usr/share/fish/vendor_completions.d/welcomed.fish

  mkdir "$root/DEBIAN"
  (cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum) > "$root/DEBIAN/md5sums"
  sed -e "s/@VERSION@/$debian/" -e "s/@ARCHITECTURE@/$architecture/" \
    -e "s/@SIZE@/$(find "$root" -type f -printf '%s\n' | awk '{n += int(($1 + 1023) / 1024)} END {print n}')/" deploy/debian/control > "$root/DEBIAN/control"
  install -m 0644 deploy/debian/conffiles "$root/DEBIAN"
  install -m 0755 deploy/debian/postinst deploy/debian/prerm deploy/debian/postrm "$root/DEBIAN"
  find "$root" -type d -exec chmod 0755 {} +
  dpkg-deb --root-owner-group -Zxz --threads-max=1 --build "$root" "$out/welcomed_${debian}_$architecture.deb" >/dev/null
}

debian_changelog() {
  printf 'welcomed (%s) unstable; urgency=medium\n\n  * What is new is in changelog.gz.\n\n' "$debian"
  sed -n 's/^Maintainer: / -- /p' deploy/debian/control | tr -d '\n'
  printf '  %s\n' "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
}

debian=$(debian_version "$version")
rm -f "$out"/*
wanted=${RELEASE:-linux_amd64 linux_arm64 linux_armv7 linux_armv6 darwin_arm64 sbom}
compile host
for name in $wanted; do
  case $name in
    sbom) ;;
    linux_armv*) compile "$name" GOOS=linux GOARCH=arm GOARM="${name#linux_armv}";;
    *) compile "$name" GOOS="${name%_*}" GOARCH="${name#*_}";;
  esac
done
packed
for name in $wanted; do
  [ "$name" != sbom ] || continue
  tarball "$name"
  # Debian's armhf is for ARMv7, that of Raspberry Pi OS for ARMv6, and both are called
  # armhf: what runs on a Pi Zero runs on all of them.
  case $name in
    linux_amd64) package amd64 "$name";;
    linux_arm64) package arm64 "$name";;
    linux_armv6) package armhf "$name";;
  esac
done
# All are linked with the same modules.
case " $wanted " in
  *" sbom "*)
    "$go" run -trimpath "$sbom" bin -json -std -licenses -noserial -notimestamp -version "$version" \
      -output "$out/welcomed_$version.cdx.json" "$work/bin/${wanted%% *}/welcomed" 2> "$work/log" || { cat "$work/log"; exit 1; };;
esac
(cd "$out" && sha256sum welcomed_* > SHA256SUMS)
echo "$version:"
(cd "$out" && stat -c '%10s  %n' *)
