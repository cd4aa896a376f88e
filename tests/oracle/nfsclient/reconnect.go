package nfsclient

import (
	"net"
	"time"
)

// redial is how long to wait between attempts.
const redial = 20 * time.Millisecond

// again gets a new connection after cause broke the old one, and sends every call in flight once more with its old XID.
// False where that is not wanted, or the client was closed meanwhile.
func (cn *Conn) again(cause error) bool {
	wait := time.NewTicker(redial)
	defer wait.Stop()
	for {
		cn.mu.Lock()
		cn.sock = nil
		ended := cn.closed != nil
		cn.mu.Unlock()
		if ended || !cn.opt.Retry {
			return false
		}
		sock, err := net.DialTimeout("tcp", cn.opt.Addr, cn.opt.Timeout)
		if err == nil {
			return cn.resend(sock)
		}
		select {
		case <-cn.owner.closing:
			return false
		case <-wait.C:
		}
	}
}

func (cn *Conn) resend(sock net.Conn) bool {
	cn.mu.Lock()
	for cn.writing { // to the old connection: that fails at once
		cn.wrote.Wait()
	}
	if cn.closed != nil {
		cn.mu.Unlock()
		_ = sock.Close() // never used
		return false
	}
	cn.sock = sock
	cn.out = cn.out[:0]
	for i := range cn.slots {
		if cn.slots[i].call != nil {
			cn.encode(&cn.slots[i])
		}
	}
	cn.flush()
	return true
}

// fail ends the connection for good and every call in flight with it.
func (cn *Conn) fail(err error) {
	cn.mu.Lock()
	if cn.closed == nil {
		cn.closed = err
	}
	var lost []*Call
	for i := range cn.slots {
		if c := cn.slots[i].call; c != nil {
			cn.slots[i].call = nil
			cn.free = append(cn.free, i)
			lost = append(lost, c)
		}
	}
	cn.room.Broadcast()
	cn.mu.Unlock()
	for _, c := range lost {
		c.Err = &LostError{err}
		c.Done(c)
	}
}

// close ends the connection; calls in flight end with a LostError before it returns.
func (cn *Conn) close() {
	cn.mu.Lock()
	if cn.closed == nil {
		cn.closed = errClosed
	}
	if cn.sock != nil {
		_ = cn.sock.Close() // the reader ends by it
	}
	cn.mu.Unlock()
	cn.gone.Wait()
}
