package nfsd_test

import (
	"context"
	"fmt"
	"net"

	"ovs/internal/memfs"
	"ovs/nfsd"
)

// A file system in memory, served on a free port of the loopback.
func ExampleServer() {
	s, err := nfsd.New(nfsd.Config{
		Key:     []byte("the cluster's secret of 16 bytes or more"),
		Exports: []nfsd.Export{{Path: "/export", FS: memfs.New(memfs.Options{})}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error)
	go func() { served <- s.Serve(l) }()

	fmt.Println(s.Close(context.Background()), <-served)
	// Output: <nil> <nil>
}
