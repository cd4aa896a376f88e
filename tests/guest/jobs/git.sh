# git on the vPool: many small files, renames, locks by O_EXCL, mapped packs.
mount_pool
export GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t
mkdir $pool/repo
cd $pool/repo
git init -q -b main .
for i in $(seq 1 40); do
	mkdir -p d$((i % 7))
	seq $i $((i * 40)) >d$((i % 7))/f$i
done
git add .
git commit -q -m one
for i in $(seq 1 2 40); do echo changed >>d$((i % 7))/f$i; done
git commit -q -a -m two
git mv d1 moved
git commit -q -m three
git fsck --no-progress --full --strict
git gc -q
git fsck --no-progress --full --strict
note "committed, packed, checked"
before=$(git rev-parse HEAD^{tree})
fresh
cd $pool/repo
git fsck --no-progress --full --strict
[ "$(git rev-parse HEAD^{tree})" = "$before" ] || fail "another tree after a remount"
[ -z "$(git status --porcelain)" ] || fail "changes that nobody made: $(git status --porcelain)"
git clone -q $pool/repo $pool/clone
diff -r --exclude=.git $pool/repo $pool/clone || fail "the clone differs"
cd /
umount $pool
