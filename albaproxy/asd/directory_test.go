package asd_test

import (
	crand "crypto/rand"
	"errors"
	"testing"

	"ovs"
	"ovs/albaproxy/asd"
	"ovs/albaproxy/asd/asdtest"
	"ovs/internal/vfs"
)

func TestDirectory(t *testing.T) {
	asdtest.Run(t, func(t *testing.T) asdtest.Disk {
		dir := t.TempDir() + "/asd"
		return func() (asd.ASD, error) {
			d, err := asd.Open(asd.Options{FS: vfs.OS(), Dir: dir, Rand: crand.Reader})
			if err != nil {
				return nil, err
			}
			return d, nil
		}
	})
}

func TestOneOwner(t *testing.T) {
	o := asd.Options{FS: vfs.OS(), Dir: t.TempDir(), Rand: crand.Reader}
	d, err := asd.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := asd.Open(o); !ovs.Is(err, ovs.KindBusy) {
		t.Fatal(err)
	}
	if err := errors.Join(d.Close()); err != nil {
		t.Fatal(err)
	}
}
