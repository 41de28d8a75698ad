# A clean Debian in which systemd is PID 1, in namespaces of its own and with no
# network but loopback: a machine on which to do what an operator does. To be
# sourced by bash, and needs root:
#
#   . trials/root.sh
#   root_offers="caddy"               # packages that can be installed in it later
#   root_make openssl prometheus      # fresh, with these packages besides
#   root_boot
#   root_put welcomed.deb /home/pi/   # in the home of pi, who may sudo
#   root_run <script                  # pi's bash -euo pipefail; or: root_run COMMAND…
#
# The Debian without packages and those with are kept in build/debian, so that
# only the first run needs the network. What is made of it ends with the shell.

root_top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root_cache=${ROOT_CACHE:-$root_top/build/debian}
root_suite=bookworm
root_mirror=${MIRROR:-http://deb.debian.org/debian}
root_offers=${root_offers:-}
root_basics="systemd systemd-sysv dbus procps sudo curl ca-certificates"

# root_make starts from what was kept, and adds the packages if they were not.
root_make() {
  local key
  key=$(printf '%s\n' $root_basics "$@" ${root_offers:+offers $root_offers} | sha256sum | cut -c 1-12)
  root_below=$root_cache/$root_suite-$key
  [ -d "$root_below" ] || root_install "$root_below" "$@"
  root_dir=$(mktemp -d "$root_cache/run.XXXXXX")
  mkdir "$root_dir"/{upper,work,merged}
  trap root_stop EXIT
}

root_install() {
  local below=$1 base=$root_cache/$root_suite; shift
  mkdir -p "$root_cache"
  if [ ! -d "$base" ]; then
    command -v debootstrap >/dev/null || { echo "debootstrap is not installed"; exit 1; }
    echo "making a Debian $root_suite, once" >&2
    rm -rf "$base.part"
    debootstrap --variant=minbase $root_suite "$base.part" "$root_mirror" > "$root_cache/log" 2>&1 || { tail "$root_cache/log"; exit 1; }
    mv "$base.part" "$base"
  fi
  echo "installing $root_basics $* in it, once" >&2
  rm -rf "$below.part"
  cp -a "$base" "$below.part"
  cp /etc/resolv.conf "$below.part/etc/resolv.conf"
  unshare --mount --pid --fork --kill-child bash -c "$root_into_chroot" - "$below.part" "$root_basics $*" "$root_offers" > "$root_cache/log" 2>&1 ||
    { tail "$root_cache/log"; exit 1; }
  mv "$below.part" "$below"
}

root_into_chroot='
mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" || exit 1
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive chroot "$1" sh -euc "
  printf \"#!/bin/sh\nexit 101\n\" > /usr/sbin/policy-rc.d
  chmod 0755 /usr/sbin/policy-rc.d
  apt-get -qq update
  apt-get -qq install -y --no-install-recommends $2
  apt-get clean
  [ -z \"$3\" ] || apt-get -qq install -y --download-only --no-install-recommends $3
  rm /usr/sbin/policy-rc.d
  echo debian > /etc/hostname
  echo 127.0.0.1 localhost debian > /etc/hosts
  adduser --disabled-password --gecos \"\" pi
  echo \"pi ALL=(ALL) NOPASSWD: ALL\" > /etc/sudoers.d/pi"'

# root_boot starts systemd and waits until it has started everything.
root_boot() {
  unshare --pid --fork --kill-child --mount --cgroup --uts --ipc --net bash -euc "$root_start" - "$root_below" "$root_dir" > "$root_dir/console" 2>&1 < /dev/null &
  root_unshare=$!
  local state=
  for _ in $(seq 300); do
    kill -0 $root_unshare 2>/dev/null || break
    root_pid=$(ps -o pid= --ppid $root_unshare | tr -d ' ')
    state=$(root_enter systemctl is-system-running 2>/dev/null) || true
    case $state in running) return;; degraded) break;; esac
    sleep 0.2
  done
  echo "systemd did not start as PID 1 of a namespace here ($state):"
  tail "$root_dir/console"
  root_enter systemctl --failed --no-pager || true
  exit 1
}

root_start='
mount --make-rprivate /
root=$2/merged
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for device in null:3 zero:5 full:7 random:8 urandom:9; do
  mknod -m 0666 "$root/dev/${device%:*}" c 1 "${device#*:}"
done
ip link set lo up
hostname debian
cd "$root"
mkdir -p .host
pivot_root . .host
umount -l .host
exec env -i container=unshare PATH=/usr/sbin:/usr/bin:/sbin:/bin /sbin/init'

# root_enter runs a command of root's in it.
root_enter() {
  nsenter --target "$root_pid" --all env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

# root_put copies a file into it, for pi.
root_put() {
  local to=$2
  [ "${to%/}" = "$to" ] || to=$to${1##*/}
  root_enter sh -c 'cat > "$1" && chown pi: "$1"' - "$to" < "$1"
}

# root_run runs a command of pi's, or a script that it reads, which have five minutes.
root_run() {
  if [ $# = 0 ]; then
    local script
    script=$(mktemp)
    cat > "$script"
    root_put "$script" /home/pi/script
    rm "$script"
    set -- bash -euo pipefail script
  fi
  root_enter timeout "${ROOT_PATIENCE:-300}" runuser -u pi -- env -C /home/pi HOME=/home/pi USER=pi "$@" < /dev/null
}

# root_stop ends all of it.
root_stop() {
  [ -z "${root_pid:-}" ] || kill -9 "$root_pid" 2>/dev/null || true
  [ -z "${root_unshare:-}" ] || wait "$root_unshare" 2>/dev/null || true
  [ -z "${root_dir:-}" ] || rm -rf "$root_dir"
  root_pid='' root_unshare='' root_dir=''
}
