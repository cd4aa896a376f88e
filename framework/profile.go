package framework

import (
	"bytes"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/gorilla/mux"

	"ovs"
)

// longestProfile bounds a CPU profile, in seconds.
const longestProfile = 60

// profile answers with a profile of this process for `go tool pprof`: "cpu" over ?seconds=1 to 60, or a kept one ("heap",
// "goroutine", "allocs", …). It costs nothing until asked, needs the token as its neighbours do, and is for this host only:
// a profile names what the process is at.
func profile(w http.ResponseWriter, r *http.Request) {
	const op = "framework.Profile"
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !from.Addr().Unmap().IsLoopback() {
		reply(w, http.StatusForbidden, Problem{Kind: ovs.KindPermission.String(), Error: "profiles are given to this host only"})
		return
	}
	name := mux.Vars(r)["name"]
	var out bytes.Buffer
	if name != "cpu" {
		p := pprof.Lookup(name)
		if p == nil {
			fail(w, ovs.E(op, ovs.KindNotFound, name, nil))
			return
		}
		if err := p.WriteTo(&out, 0); err != nil {
			fail(w, ovs.E(op, ovs.KindUnknown, name, err))
			return
		}
		send(w, &out)
		return
	}
	n, err := strconv.Atoi(r.URL.Query().Get("seconds"))
	if err != nil || n < 1 || n > longestProfile {
		fail(w, ovs.E(op, ovs.KindInvalid, name, fmt.Errorf("seconds: a number from 1 to %d", longestProfile)))
		return
	}
	if err := pprof.StartCPUProfile(&out); err != nil {
		fail(w, ovs.E(op, ovs.KindBusy, name, err))
		return
	}
	end := time.NewTimer(time.Duration(n) * time.Second)
	defer end.Stop()
	select {
	case <-end.C:
	case <-r.Context().Done():
	}
	pprof.StopCPUProfile()
	send(w, &out)
}

func send(w http.ResponseWriter, body *bytes.Buffer) {
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = body.WriteTo(w) // an error here is a client that went away
}
