# The server is killed while the guest writes; the guest sees a pause, never an error, and every byte is there.
mount_pool
cat >/tmp/fio.ini <<EOT
[global]
directory=$pool
size=24m
bs=4k
rw=randwrite
verify=crc32c
verify_fatal=1
do_verify=1
randseed=7
end_fsync=1
[volume]
filename=fio.raw
direct=1
ioengine=libaio
iodepth=8
[file]
filename=fio.bin
direct=0
EOT
fio --eta=never --output=/tmp/fio.out /tmp/fio.ini &
pid=$!
for i in 1 2 3; do
	sleep 4
	step kill
done
wait $pid || { cat /tmp/fio.out; fail "fio"; }
note "$(grep -E 'write:' /tmp/fio.out | tr '\n' ' ')"
fresh
fio --eta=never --output=/tmp/fio.out --verify_only /tmp/fio.ini || { cat /tmp/fio.out; fail "verify after a remount"; }
umount $pool
