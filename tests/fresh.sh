#!/usr/bin/env bash
# A fresh machine: debootstraps Debian 12 with git, make and certificates, adds Go, clones the tree and follows the README
# as root: `make run` must serve, `make test` must pass. Needs root, debootstrap and the network. Leaves a report.
#
#   tests/fresh.sh [DIRECTORY]     default: a temporary one, removed at the end
set -euo pipefail
top=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
goroot=$(go env GOROOT)
room=${1:-}
if [ -z "$room" ]; then
	room=$(mktemp -d)
	own=1
fi
root=$room/debian
report=$top/docs/proof/fresh.md

clean() {
	for m in dev/shm dev proc sys usr/local/go .; do umount -R -l "$root/$m" 2>/dev/null || true; done
	[ -z "${own:-}" ] || rm -rf --one-file-system "$room"
}
trap clean EXIT

state="a room made for this run, no caches"
[ ! -x "$root/usr/bin/git" ] || state="a room used before: packages, modules and build and test caches were there"
[ -x "$root/usr/bin/git" ] || debootstrap --variant=minbase --include=ca-certificates,git,make bookworm "$root" >"$room/debootstrap.log"
mkdir -p "$root/usr/local/go" "$root/root/ovs"
mount --bind "$root" "$root" # a root that is a mount point: tests make mount namespaces of their own
mount --bind "$goroot" "$root/usr/local/go"
mount -o remount,bind,ro "$root/usr/local/go"
mount -t proc proc "$root/proc"
mount -t sysfs sys "$root/sys"
mount --rbind /dev "$root/dev"
mount --make-rslave "$root/dev"
cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
# A host behind a proxy of its own trusts certificates of its own: the room must, too.
cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || true
chroot "$root" update-ca-certificates >/dev/null 2>&1
rm -rf "$root/root/ovs"
git clone -q "$top" "$room/clone.$$" && mv "$room/clone.$$" "$root/root/ovs"

inside() {
	env -i HOME=/root TERM=dumb GOTOOLCHAIN=local PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		$(env | grep -E '^(GOPROXY|GOSUMDB|GONOSUMDB|GOFLAGS|https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY|SSL_CERT_FILE)=' || true) \
		chroot "$root" bash -c "cd /root/ovs; $1"
}

start=$(date +%s)
echo "== make run"
inside 'make run SERVE="--nfs-port 0 --api-port 0 --portmap off" >/tmp/run.log 2>&1 & echo $! >/tmp/run.pid
	for i in $(seq 900); do [ -s data/ports.json ] && break; kill -0 $(cat /tmp/run.pid) || break; sleep 1; done
	cat /tmp/run.log; [ -s data/ports.json ] && bin/ovs status && kill -TERM $(grep -o pid..[0-9]* data/ports.json | cut -d: -f2) && wait' || { echo "make run failed" >&2; exit 1; }
ran=$(date +%s)
echo "== make test"
inside 'make test' >"$room/test.log" 2>&1 && verdict=passed || verdict=failed
ended=$(date +%s)
tail -n 60 "$room/test.log"
mkdir -p "$(dirname "$report")"
{
	echo "# A fresh Debian 12"
	echo
	echo "\`make proof-fresh\` on commit $(git -C "$top" rev-parse --short HEAD), $(date -u +%F), $(nproc) cores: debootstrap minbase with git, make and"
	echo "ca-certificates, $(go version | cut -d' ' -f3), nothing else. State: $state."
	echo
	echo "- \`make run\` built and served after $((ran - start)) s."
	echo "- \`make test\` $verdict after $((ended - ran)) s."
} >"$report"
cat "$report"
[ "$verdict" = passed ]
