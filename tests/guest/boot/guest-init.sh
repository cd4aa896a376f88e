#!/bin/bash
# First process of the root file system: network, the job from the second drive, its exit code, power off.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o size=80% tmp /tmp
mount -t tmpfs -o size=10m run /run
mkdir -p /dev/pts /dev/shm /run/lock
mount -t devpts devpts /dev/pts
hostname guest
ip link set lo up
for nic in /sys/class/net/e*; do
	[ -e "$nic" ] || continue
	ip link set "${nic##*/}" up
	ip addr add 10.0.2.15/24 dev "${nic##*/}"
	ip route add default via 10.0.2.2
done
stty -F /dev/ttyS1 raw -echo
mkdir -p /tmp/job /mnt
code=125
if tar -x -f /dev/vdb -C /tmp/job; then
	cd /tmp/job || exit
	echo "guest: up after $(cut -d' ' -f1 /proc/uptime) s" >/dev/ttyS1
	bash ./run.sh </dev/ttyS1 >/dev/ttyS1 2>&1
	code=$?
fi
echo "@exit $code" >/dev/ttyS1
cd /
umount -a -t nfs -l
sync
mount -o remount,ro /
sync
echo o >/proc/sysrq-trigger
sleep 60
