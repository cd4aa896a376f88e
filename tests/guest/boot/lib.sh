# What every job may call. PORT and EXPORT say where the server is; $pool is where mount_pool puts it.
pool=/mnt
job=$PWD # where the job's files are

note() { echo "[$(cut -d' ' -f1 /proc/uptime)] $*"; }

# fail ends the job: the message is the reason.
fail() {
	echo "FAIL: $*"
	exit 1
}

# step tells the host and waits for it.
step() {
	echo "@step $1"
	read -r _
}

mount_pool() {
	mount -t nfs -o "vers=3,tcp,nolock,mountproto=tcp,port=$PORT,mountport=$PORT${1:+,$1}" "10.0.2.2:$EXPORT" $pool
}

# fresh forgets all that the client knows: what is read next comes from the server.
fresh() {
	cd /
	sync
	umount $pool
	echo 3 >/proc/sys/vm/drop_caches
	mount_pool "$@"
}
