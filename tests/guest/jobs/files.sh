# What programs do with single files and rely on.
mount_pool
cd $pool
same() { cmp "$1" "$2" || fail "$3"; }
head -c 3000000 /dev/urandom >/tmp/data

dd if=/tmp/data of=sync bs=64k oflag=sync status=none
same /tmp/data sync "dd oflag=sync"
dd if=/tmp/data of=disk-flat.vmdk bs=4k count=200 oflag=direct,sync status=none
cmp -n 819200 /tmp/data disk-flat.vmdk || fail "dd oflag=direct,sync"
note "synchronous writes"

truncate -s 200M /tmp/holes
dd if=/tmp/data of=/tmp/holes bs=1M seek=7 conv=notrunc status=none
dd if=/tmp/data of=/tmp/holes bs=1M seek=150 conv=notrunc status=none
for f in sparse sparse.raw; do
	cp --sparse=always /tmp/holes $f
	same /tmp/holes $f "cp --sparse=always"
	used=$(du -k $f | cut -f1)
	[ "$used" -lt 40000 ] || fail "$f with 6 MB in it takes $used KiB"
done
note "sparse copies"

echo old >target
exec 7<target
echo new >source
mv source target
[ "$(cat target)" = new ] || fail "rename over an open file: the new content is not there"
[ "$(cat <&7)" = old ] || fail "rename over an open file: the old content is gone"
exec 7<&-
cp /tmp/data open
exec 8<>open
rm open
[ ! -e open ] || fail "unlink of an open file: the name is still there"
cmp /tmp/data /proc/self/fd/8 || fail "unlink of an open file: its content is gone"
printf late >&8
exec 8<&-
if ls -A | grep -q '^\.nfs'; then fail "a silly-renamed file stayed: $(ls -A)"; fi
cp /tmp/data moving
exec 9>>moving
mv moving moved
printf tail >&9
exec 9>&-
{ cat /tmp/data; printf tail; } | cmp - moved || fail "appending to a renamed open file"
note "rename and unlink of open files"

(set -o noclobber; echo a >lock) || fail "O_EXCL on a new name"
if (set -o noclobber; echo b >lock) 2>/dev/null; then fail "O_EXCL on an existing name"; fi
mkdir d d/e
if rmdir d 2>/dev/null; then fail "rmdir of a directory with entries"; fi
touch d/f
ln d/f hard
[ "$(stat -c %h hard)" = 2 ] || fail "link count"
rm d/f
[ "$(stat -c %h hard)" = 1 ] || fail "link count after rm"
ln -s ../somewhere/else soft
[ "$(readlink soft)" = ../somewhere/else ] || fail "symlink"
chmod 4751 hard
chown 12:34 hard
touch -d '2001-02-03 04:05:06.789' hard
[ "$(stat -c '%a %u %g %Y' hard)" = "751 12 34 981173106" ] ||
	[ "$(stat -c '%a %u %g %Y' hard)" = "4751 12 34 981173106" ] || fail "attributes: $(stat -c '%a %u %g %Y' hard)"
mkdir many
(cd many && for i in $(seq 1 1500); do : >"a-file-with-a-rather-long-name-$i"; done)
[ "$(ls many | wc -l)" = 1500 ] || fail "1500 files made, $(ls many | wc -l) listed"
[ "$(df --output=fstype . | tail -1)" = nfs ] || fail "df"
note "names and attributes"

find . -type f -size +0 | sort | xargs md5sum >/tmp/sums
find . | sort >/tmp/names
step restart
fresh
cd $pool
md5sum --quiet -c /tmp/sums || fail "content after a restart of the server"
find . | sort | diff /tmp/names - || fail "names after a restart of the server"
rm -r many/*
[ -z "$(ls -A many)" ] || fail "left over after rm"
cd /
umount $pool
