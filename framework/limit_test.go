package framework

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
)

// pipes is a listener whose every Accept gives a connection.
type pipes struct{}

func (pipes) Accept() (net.Conn, error) { c, _ := net.Pipe(); return c, nil }
func (pipes) Close() error              { return nil }
func (pipes) Addr() net.Addr            { return nil }

// TestConnectionsAreBounded: no more are open than the bound; one that goes makes room for one, once; Close ends the wait.
func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit(pipes{}, 2)
		accepted, ended := make(chan net.Conn, 9), make(chan error, 1)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					ended <- err
					return
				}
				accepted <- c
			}
		}()
		synctest.Wait()
		if len(accepted) != 2 {
			t.Fatalf("%d are open", len(accepted))
		}
		c := <-accepted
		_ = c.Close()
		_ = c.Close()
		synctest.Wait()
		if len(accepted) != 2 {
			t.Fatalf("%d are open after one went", len(accepted))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		_ = l.Close()
	})
}
