// Package client is the one typed client of the REST API: the command line, the tests and the console go through it.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ovs"
	"ovs/framework"
)

// Client speaks to one node.
type Client struct {
	base  string
	token string
	http  http.Client
}

// Ports is data/ports.json: where a running server listens, and its process.
type Ports struct {
	Host string `json:"host"` // where this host reaches it; empty: 127.0.0.1
	NFS  int    `json:"nfs"`
	API  int    `json:"api"`
	PID  int    `json:"pid"`
}

// New makes a client of the API at base, "http://host:port".
func New(base, token string) *Client {
	return &Client{base: strings.TrimRight(base, "/"), token: token, http: http.Client{Timeout: 5 * time.Minute}}
}

// ForData makes a client of the server that runs on a data directory of this host.
func ForData(dir string) (*Client, error) {
	const op = "client.ForData"
	token, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	if err != nil {
		return nil, ovs.E(op, ovs.KindNotFound, dir, fmt.Errorf("no datastore was ever served from there, or it may not be read: %w", err))
	}
	ports, err := ReadPorts(dir)
	if err == nil {
		err = served(dir)
	}
	if err != nil {
		return nil, ovs.E(op, ovs.KindNotFound, dir, fmt.Errorf("no server runs on it, or it is still starting: %w", err))
	}
	if ports.Host == "" {
		ports.Host = "127.0.0.1"
	}
	return New("http://"+net.JoinHostPort(ports.Host, strconv.Itoa(ports.API)), strings.TrimSpace(string(token))), nil
}

// ReadPorts tells where the server of a data directory listens.
func ReadPorts(dir string) (p Ports, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "ports.json"))
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(text, &p)
}

// served tells whether the server that wrote ports.json lives: it holds a lock on it. A killed one's ports may be another's by
// now, who must not get the token.
func served(dir string) error {
	f, err := os.Open(filepath.Join(dir, "ports.json"))
	if err != nil {
		return err
	}
	defer f.Close() // with it the lock, if we got it
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil
	case err != nil:
		return err
	}
	return errors.New("its ports.json is of a server that has ended")
}

// Status is the node at this moment.
func (c *Client) Status(ctx context.Context) (s framework.Status, err error) {
	return s, c.call(ctx, http.MethodGet, "/api/v1/status", &s)
}

// VPools lists the vPools.
func (c *Client) VPools(ctx context.Context) (v []framework.VPool, err error) {
	return v, c.call(ctx, http.MethodGet, "/api/v1/vpools", &v)
}

// VPool is one vPool.
func (c *Client) VPool(ctx context.Context, name string) (v framework.VPool, err error) {
	return v, c.call(ctx, http.MethodGet, "/api/v1/vpools/"+url.PathEscape(name), &v)
}

// Flush brings all that a vPool's clients wrote so far to the backend.
func (c *Client) Flush(ctx context.Context, vpool string) error {
	return c.call(ctx, http.MethodPost, "/api/v1/vpools/"+url.PathEscape(vpool)+"/flush", nil)
}

// Profile is a profile of the node's process for `go tool pprof`: "cpu" over some seconds (1 to 60), or a kept one such as
// "heap". Only nodes of this host give it.
func (c *Client) Profile(ctx context.Context, name string, seconds int) ([]byte, error) {
	return c.get(ctx, http.MethodGet, "/api/v1/debug/pprof/"+url.PathEscape(name)+"?seconds="+strconv.Itoa(seconds))
}

// Metrics is the text that Prometheus would get.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	return c.get(ctx, http.MethodGet, "/metrics")
}

func (c *Client) call(ctx context.Context, method, path string, into any) error {
	body, err := c.get(ctx, method, path)
	if err != nil || into == nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return ovs.E("client.call", ovs.KindUnknown, path, err)
	}
	return nil
}

// get does a request and gives the body of a success.
func (c *Client) get(ctx context.Context, method, path string) ([]byte, error) {
	const op = "client.call"
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, nil)
	if err != nil {
		return nil, ovs.E(op, ovs.KindInvalid, path, err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := c.http.Do(req)
	if err != nil {
		return nil, ovs.E(op, ovs.KindIO, path, fmt.Errorf("no server answers; does one run? %w", err))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err != nil {
		return nil, ovs.E(op, ovs.KindIO, path, err)
	}
	if res.StatusCode/100 != 2 {
		var p framework.Problem
		if json.Unmarshal(body, &p) != nil || p.Error == "" {
			p.Error = res.Status
		}
		return nil, ovs.E(op, kindOf(p.Kind), path, fmt.Errorf("%s", p.Error))
	}
	return body, nil
}

// kindOf finds the kind by its words: what the API wrote.
func kindOf(text string) ovs.Kind {
	for k := ovs.Kind(1); k.String() != ovs.KindUnknown.String(); k++ {
		if k.String() == text {
			return k
		}
	}
	return ovs.KindUnknown
}
