# Untars a large source tree, compares it, again from the server after a remount, removes half, renames the rest.
mount_pool
mkdir /tmp/tree
tar -x -f $job/src.tar -C /tmp/tree
note "$(find /tmp/tree -type f | wc -l) files, $(du -sm /tmp/tree | cut -f1) MiB"
mkdir $pool/tree
tar -x -f $job/src.tar -C $pool/tree
note "untarred"
diff -r /tmp/tree $pool/tree || fail "differs at once"
note "same at once"
fresh
diff -r /tmp/tree $pool/tree || fail "differs after a remount"
note "same after a remount"
mkdir $pool/tree2
first=1
for d in /tmp/tree/*; do
	name=${d##*/}
	if [ $first = 1 ]; then
		rm -r "$pool/tree/$name" "/tmp/tree/$name"
	else
		mv "$pool/tree/$name" "$pool/tree2/$name"
	fi
	first=$((1 - first))
done
rmdir $pool/tree || fail "the emptied directory is not empty"
fresh
diff -r /tmp/tree $pool/tree2 || fail "differs after moving"
rm -r $pool/tree2
[ -z "$(ls -A $pool)" ] || fail "left over: $(ls -A $pool)"
note "moved, compared, removed"
umount $pool
