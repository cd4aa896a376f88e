/*
Package guest boots real Linux kernels as NFS clients, without KVM, without root on the network and without touching the
host: the kernel and its userland run under QEMU's interpreter (TCG) and reach the server through QEMU's user networking.

	host, in a network namespace of the test's own      guest
	+-----------------------------------------+        +---------------------------------+
	| ovs serve   127.0.0.1:PORT  <-----------|--------|  mount -t nfs 10.0.2.2:/vpool1   |
	| qemu-system-x86_64                      |        |  vda: root file system (ext4)    |
	|   stdin, stdout = ttyS1  <--------------|--------|  vdb: the job, a tar, read-only  |
	|   console.log   = ttyS0                 |        |  vdc...: further drives          |
	+-----------------------------------------+        +---------------------------------+

A Kit is what VMs boot from; Prepare makes it once and keeps it in a cache until its recipe changes:

	kernel   Debian's cloud kernel, the uncompressed ELF out of its bzImage: several times faster to boot under TCG
	initrd   static busybox, the virtio modules in their order, two scripts (boot/)
	root     debootstrap's minbase with NFS tools, git, fio and the kernel's modules, as a raw ext4 image

A Job is a script with its files. It runs in the guest with its standard input and output on ttyS1, so that host and job
can talk in lines; its exit code is the last of them. Everything a VM does to its root drive is thrown away.
*/
package guest
