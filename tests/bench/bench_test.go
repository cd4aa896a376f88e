package main

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"ovs/tests/measure"
)

func TestParseStat(t *testing.T) {
	cpu, err := parseStat("7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 3 4 20 0 9 0 100 1 1")
	if err != nil || cpu != 3*time.Second {
		t.Fatal(cpu, err)
	}
	if _, err := parseStat("7 (x) S 1"); err == nil {
		t.Error("a short line was taken")
	}
}

func TestParseTop(t *testing.T) {
	list, samples := parseTop(`File: ovs
Type: cpu
Duration: 6s, Total samples = 1.15s (19.16%)
      flat  flat%   sum%        cum   cum%
     0.33s 28.70% 28.70%      0.33s 28.70%  ovs/dtl.writeFull
     0.02s  1.74% 30.44%      0.02s  1.74%  ovs/internal/extent.(*Map[go.shape.struct { A int }]).find (inline)
         0     0% 30.44%      0.01s  1.74%  main.main
`)
	if len(list) != 2 || list[0] != (cost{28.7, "ovs/dtl.writeFull"}) || list[1].name != "ovs/internal/extent.(*Map).find" {
		t.Fatalf("%v", list)
	}
	if list[0].part() != "ovs/dtl" || list[1].part() != "ovs/internal/extent" || !strings.Contains(samples, "1.15s") {
		t.Fatal(list[0].part(), list[1].part(), samples)
	}
}

// Both ends of the loopback floor in one process.
func TestEchoAnswersEveryRequest(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go echoConn(c)
		}
	}()
	e := echo{addr: l.Addr().String()}
	var h measure.Hist
	for _, c := range []struct{ ask, reply, depth int }{{128, 128, 1}, {4224, 128, 1}, {128, 4224, 32}, {1 << 20, 128, 8}, {128, 1 << 20, 8}} {
		rate, err := e.trip(c.ask, c.reply, c.depth, 20*time.Millisecond, &h)
		if err != nil || rate <= 0 {
			t.Fatal(c, rate, err)
		}
	}
	if h.N == 0 {
		t.Error("no round trip was timed")
	}
}

// A report has a line for every row, measured or not, and a run that was cut off keeps what it has.
func TestReportAndState(t *testing.T) {
	all := rows()
	s := &state{Binary: strings.Repeat("ab", 32), LogSize: "512 MiB", Results: map[string]result{}, Costs: map[string]costs{}, Failed: map[string]string{}}
	first := all[0]
	s.Results[first.key(first.modes[0])] = result{Row: first.name, Mode: "burst", Rate: 4321, Ratio: 1.5, RatioOf: "of the floor's median", Target: "x", Met: true}
	s.Costs[first.name] = costs{Row: first.name, Own: []string{"50.0 % a"}}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	again := &state{}
	if err := json.Unmarshal(b, again); err != nil {
		t.Fatal(err)
	}
	text := again.report(all)
	lines := 0
	for _, r := range all {
		for range r.modes {
			lines++
		}
	}
	if n := strings.Count(text, "not measured"); n != lines {
		t.Errorf("%d rows of %d are not measured (and one line says what that means):\n%s", n, lines-1, text)
	}
	for _, want := range []string{"4321", "Not finished", "50.0 % a", "| yes |"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the report", want)
		}
	}
	keys := map[string]bool{}
	for _, r := range all {
		for _, m := range r.modes {
			if keys[r.key(m)] {
				t.Errorf("two rows %s", r.key(m))
			}
			keys[r.key(m)] = true
		}
		if r.target == nil && strings.Contains(r.name, "FILE_SYNC, depth 1") && !strings.Contains(r.name, "MiB") {
			t.Errorf("%s has no target", r.name)
		}
	}
}

// What a row waits for ends with its time.
func TestUntilWrittenEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if n := (&bench{}).untilWritten(ctx, limit{}, counts{}); n != 0 {
		t.Errorf("asked %d times", n)
	}
	if n := (&bench{}).untilWritten(ctx, limit{written: 0.4}, counts{}); n != 0 {
		t.Errorf("asked %d times", n)
	}
}
