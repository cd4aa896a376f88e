# Random operations against a model on a file and on two volumes at once; verified again after a remount, and after the
# server was restarted in between ("step restart").
mount_pool
names="x.bin x-flat.vmdk x.raw"
seed=$SEED
pids=
for n in $names; do
	$job/fsx -file $pool/$n -model /tmp/$n.model -seed $seed -ops "$OPS" >/tmp/$n.log 2>&1 &
	pids="$pids $!"
	seed=$((seed + 1))
done
bad=0
for p in $pids; do
	wait $p || bad=1
done
for n in $names; do cat /tmp/$n.log; done
[ $bad = 0 ] || fail "fsx found a difference"
check() {
	for n in $names; do
		$job/fsx -check -file $pool/$n -model /tmp/$n.model || fail "$1"
	done
}
fresh
check "after a remount"
step restart
fresh
check "after a restart of the server"
umount $pool
