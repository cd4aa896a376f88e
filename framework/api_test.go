package framework_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"ovs"
	"ovs/framework"
	"ovs/framework/client"
)

type node struct{ status framework.Status }

func (n *node) Status(context.Context) framework.Status { return n.status }
func (n *node) Flush(_ context.Context, vpool string) error {
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
	n := &node{framework.Status{Version: "v", Ready: true, Health: framework.Health{OK: true, Sentence: "fine"},
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
