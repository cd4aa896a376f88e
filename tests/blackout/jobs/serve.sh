# The server runs on a disk of the guest until the power goes.
mkdir -p /data
if [ "$FRESH" = 1 ]; then
	mkfs.ext4 -q -F -E lazy_itable_init=1 /dev/vdc
fi
mount -t ext4 /dev/vdc /data
rm -f /data/ovs/ports.json # of the life before
./ovs serve --config ovs.yaml --data /data/ovs --listen 0.0.0.0 --allow 10.0.2.0/24 --portmap off >/tmp/ovs.log 2>&1 &
server=$!
until [ -s /data/ovs/ports.json ]; do
	kill -0 $server 2>/dev/null || { cat /tmp/ovs.log; fail "the server ended before it was ready"; }
	sleep 0.05
done
note "ready"
wait $server || true
cat /tmp/ovs.log
fail "the server ended by itself"
