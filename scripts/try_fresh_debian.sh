#!/usr/bin/env bash
# Proves both README commands on a bare Debian 12: makes a minimal one in DIR with debootstrap, clones this checkout into it and runs them there.
# usage (as root): try_fresh_debian.sh DIR [quickstart|test|both]
# This machine's package sources and certificates are copied in. DIR can be removed afterwards.
set -euo pipefail
checkout=$(cd "$(dirname "$0")/.." && pwd)
root=$(realpath -m "$1") what=${2:-both}
command -v debootstrap > /dev/null || apt-get install -y -q debootstrap > /dev/null
mirror=$(grep -h '^URIs:' /etc/apt/sources.list.d/debian.sources | head -1 | awk '{print $2}')
debootstrap --variant=minbase --include=ca-certificates bookworm "$root" "$mirror" > /dev/null
cp /etc/apt/sources.list.d/debian.sources "$root/etc/apt/sources.list.d/" && rm -f "$root/etc/apt/sources.list"
cp /etc/apt/apt.conf.d/99* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
cp /etc/resolv.conf /etc/hosts "$root/etc/"
cp -rL /etc/ssl/certs/* "$root/etc/ssl/certs/" 2>/dev/null || true
[ -f "$HOME/.cargo/config.toml" ] && mkdir -p "$root/root/.cargo" && cp "$HOME/.cargo/config.toml" "$root/root/.cargo/"
git clone -q "$checkout" "$root/root/llmc"
mount --bind /proc "$root/proc"; mount --bind /dev "$root/dev"
trap 'umount "$root/proc" "$root/dev"' EXIT
inside() { echo "== $1"; time chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -c "cd /root/llmc && $1"; }
[ "$what" = test ] || { inside scripts/quickstart.sh; inside scripts/quickstart.sh; }
[ "$what" = quickstart ] || inside scripts/test.sh
