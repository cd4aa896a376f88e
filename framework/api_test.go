package framework_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"ovs"
	"ovs/framework"
	"ovs/framework/client"
)

type node struct {
	status framework.Status
	began  chan struct{} // a flush of vPool "slow" began, and ends with its context
}

func (n *node) Status(context.Context) framework.Status { return n.status }
func (n *node) Flush(ctx context.Context, vpool string) error {
	if vpool == "slow" {
		close(n.began)
		<-ctx.Done()
		return ctx.Err()
	}
	if vpool != "vpool1" {
		return ovs.E("test.Flush", ovs.KindNotFound, vpool, errors.New("no such vPool"))
	}
	return nil
}

func serve(t *testing.T, n *node) *httptest.Server {
	api := framework.NewAPI(n, "secret", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("m 1\n")) }))
	s := httptest.NewServer(api.Handler())
	t.Cleanup(s.Close)
	return s
}

func TestTypedClient(t *testing.T) {
	n := &node{status: framework.Status{Version: "v", Ready: true, Health: framework.Health{OK: true, Sentence: "fine"},
		VPools: []framework.VPool{{Name: "vpool1", Export: "/vpool1"}}}}
	c := client.New(serve(t, n).URL, "secret")
	ctx := context.Background()
	if s, err := c.Status(ctx); err != nil || s.Version != "v" || len(s.VPools) != 1 {
		t.Fatalf("status %+v, %v", s, err)
	}
	if p, err := c.VPool(ctx, "vpool1"); err != nil || p.Export != "/vpool1" {
		t.Fatalf("vpool %+v, %v", p, err)
	}
	if _, err := c.VPool(ctx, "other"); !ovs.Is(err, ovs.KindNotFound) {
		t.Fatalf("unknown vPool: %v", err)
	}
	if err := c.Flush(ctx, "vpool1"); err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(ctx, "other"); !ovs.Is(err, ovs.KindNotFound) {
		t.Fatalf("the kind must survive the wire: %v", err)
	}
}

func TestTokenIsNeeded(t *testing.T) {
	s := serve(t, &node{})
	for _, token := range []string{"", "wrong", "secret2"} {
		if _, err := client.New(s.URL, token).Status(context.Background()); err == nil {
			t.Errorf("token %q was taken", token)
		}
	}
	for path, want := range map[string]int{"/metrics": 200, "/healthz": 503, "/api/v1/status": 401, "/api/v1/vpools/x/flush": 401, "/nothing": 404} {
		method := http.MethodGet
		if path == "/api/v1/vpools/x/flush" {
			method = http.MethodPost
		}
		req, _ := http.NewRequest(method, s.URL+path, nil)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
		}
	}
}

// Profiles are for who has the token.
func TestProfile(t *testing.T) {
	s := serve(t, &node{})
	ctx := context.Background()
	c := client.New(s.URL, "secret")
	if b, err := c.Profile(ctx, "cpu", 1); err != nil || len(b) < 2 || b[0] != 0x1f || b[1] != 0x8b {
		t.Fatalf("no gzipped profile: %d bytes, %v", len(b), err)
	}
	if b, err := c.Profile(ctx, "goroutine", 0); err != nil || len(b) == 0 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if _, err := c.Profile(ctx, "cpu", 0); !ovs.Is(err, ovs.KindInvalid) {
		t.Fatalf("0 seconds: %v", err)
	}
	if _, err := c.Profile(ctx, "nothing", 0); !ovs.Is(err, ovs.KindNotFound) {
		t.Fatalf("unknown profile: %v", err)
	}
	if _, err := client.New(s.URL, "wrong").Profile(ctx, "heap", 0); err == nil {
		t.Fatal("a profile without the token")
	}
}

// TestEveryRefusalIsAProblem: unknown paths, other methods and a missing token are answered in one form, with a JSON body.
func TestEveryRefusalIsAProblem(t *testing.T) {
	s := serve(t, &node{})
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/nothing", 404}, {"POST", "/healthz", 405}, {"DELETE", "/api/v1/status", 404}, {"GET", "/api/v1/vpools/vpool1/flush", 404},
		{"GET", "/api/v1/nothing", 404}, {"GET", "/api/v1/vpools/other", 404}, {"POST", "/api/v1/vpools/other/flush", 404},
	} {
		req, err := http.NewRequest(c.method, s.URL+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer secret")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var p framework.Problem
		err = json.NewDecoder(res.Body).Decode(&p)
		res.Body.Close()
		if res.StatusCode != c.want || err != nil || p.Error == "" || p.Kind == "" {
			t.Errorf("%s %s: %d %+v (%v)", c.method, c.path, res.StatusCode, p, err)
		}
	}
}

func listen(t *testing.T, n *node) (*framework.API, string, chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	api, done := framework.NewAPI(n, "secret", http.NotFoundHandler()), make(chan error, 1)
	go func() { done <- api.Serve(l) }()
	return api, l.Addr().String(), done
}

// TestCloseEndsLongCalls: a call that does not end in time is cut short, not left to run on a node that is gone.
func TestCloseEndsLongCalls(t *testing.T) {
	n := &node{began: make(chan struct{})}
	api, addr, done := listen(t, n)
	flushed := make(chan error, 1)
	go func() { flushed <- client.New("http://"+addr, "secret").Flush(context.Background(), "slow") }()
	<-n.began
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := api.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close: %v", err)
	}
	select {
	case err := <-flushed:
		if err == nil {
			t.Error("the flush went through")
		}
	case <-time.After(10 * time.Second):
		t.Error("the flush goes on")
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
