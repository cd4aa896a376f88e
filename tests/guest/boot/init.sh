#!/bin/busybox sh
# First process of the initramfs: load the virtio modules, mount the root drive, go there.
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys
$bb mount -t devtmpfs dev /dev
for m in /modules/*.ko; do
	$bb insmod "$m" || echo "guest: cannot load $m"
done
tries=0
until [ -b /dev/vda ]; do
	tries=$((tries + 1))
	[ $tries -lt 100 ] || { echo "guest: no root drive"; $bb poweroff -f; }
	$bb usleep 50000
done
if ! $bb mount -t ext4 /dev/vda /root; then
	echo "guest: cannot mount the root drive"
	$bb poweroff -f
fi
$bb cp /guest-init /root/guest-init
$bb mount --move /dev /root/dev
$bb umount /sys
$bb umount /proc
exec $bb switch_root /root /guest-init
