/*
Memserve serves an empty file system in memory over NFSv3 on the loopback, until it is interrupted: a server for trying
clients and guests before there is a datastore.

	go run ./tests/memserve -port 20490 [-export /export] [-allow 10.0.0.0/8] [-portmap]

It prints one line when it is ready, "serving /export on 127.0.0.1:20490". A guest with QEMU's user networking mounts it
with

	mount -t nfs -o vers=3,tcp,nolock,mountproto=tcp,port=20490,mountport=20490 10.0.2.2:/export /mnt
*/
package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"ovs/internal/memfs"
	"ovs/nfsd"
)

func main() {
	port := flag.Int("port", 0, "TCP port of NFS and MOUNT; 0 is any free one")
	path := flag.String("export", "/export", "the export's path")
	allow := flag.String("allow", "", "network that may mount it, beside this host")
	portmap := flag.Bool("portmap", false, "serve the portmapper on port 111 as well, or register with the one that runs")
	flag.Parse()
	if err := run(*port, *path, *allow, *portmap); err != nil {
		fmt.Fprintln(os.Stderr, "memserve:", err)
		os.Exit(1)
	}
}

func run(port int, path, allow string, portmap bool) error {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	export := nfsd.Export{Path: path, FS: memfs.New(memfs.Options{Now: func() int64 { return time.Now().UnixNano() }})}
	if allow != "" {
		p, err := netip.ParsePrefix(allow)
		if err != nil {
			return err
		}
		export.Allow = append(append(export.Allow, nfsd.Loopback...), p)
	}
	s, err := nfsd.New(nfsd.Config{Exports: []nfsd.Export{export}, Key: key})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	port = l.Addr().(*net.TCPAddr).Port
	if portmap {
		m, err := nfsd.ServePortmap(nfsd.PortmapConfig{Port: uint16(port)})
		if err != nil {
			fmt.Fprintln(os.Stderr, "memserve:", err)
		} else {
			defer m.Close()
		}
	}
	fmt.Printf("serving %s on %s\n", path, l.Addr())
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	select {
	case err = <-served:
		return err
	case <-stop:
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return s.Close(ctx)
}
