package powercut

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"ovs/internal/vfs"
)

// Tally is what some histories have shown.
type Tally struct {
	Histories  int            `json:"histories"`
	Operations int            `json:"operations"` // that ended well
	Pictures   int            `json:"pictures"`   // cuts of a full history at a point, as pictures
	Ends       int            `json:"ends"`       // cuts of a full history at its end
	Early      int            `json:"early"`      // cuts of a history that was not full yet
	Second     int            `json:"second"`     // cuts of the shorter history after a recovery
	Recoveries int            `json:"recoveries"` // cuts during a recovery
	First      int            `json:"first"`      // cuts of the very first start
	Cuts       map[string]int `json:"cuts"`       // of histories, by point
	Passed     map[string]int `json:"passed"`     // points passed by the histories
	Least      map[string]int `json:"least"`      // the same, in the history that passed it least often
	Slots      int            `json:"slots"`      // segment files of the log at the end, summed up
	Reused     int            `json:"reused"`     // histories that reused a segment of the log
	Swung      int            `json:"swung"`      // histories that swung a volume's head to a new root
	Seconds    float64        `json:"seconds"`
}

// Main is the number of cuts of full histories.
func (t *Tally) Main() int { return t.Pictures + t.Ends }

// Add puts another one's figures in.
func (t *Tally) Add(x *Tally) {
	if t.Cuts == nil {
		t.Cuts, t.Passed, t.Least = map[string]int{}, map[string]int{}, map[string]int{}
	}
	for k, n := range x.Least {
		if least, there := t.Least[k]; there && t.Histories > 0 {
			t.Least[k] = min(least, n)
		} else if t.Histories == 0 {
			t.Least[k] = n
		}
	}
	for k := range t.Least {
		if _, there := x.Least[k]; !there {
			t.Least[k] = 0
		}
	}
	t.Histories += x.Histories
	t.Operations += x.Operations
	t.Pictures += x.Pictures
	t.Ends += x.Ends
	t.Early += x.Early
	t.Second += x.Second
	t.Recoveries += x.Recoveries
	t.First += x.First
	t.Slots += x.Slots
	t.Reused += x.Reused
	t.Swung += x.Swung
	t.Seconds += x.Seconds
	for k, n := range x.Cuts {
		t.Cuts[k] += n
	}
	for k, n := range x.Passed {
		t.Passed[k] += n
	}
}

// Plan says how a seed is played.
type Plan struct {
	Operations int                               // of the history, at least; the last cut comes after them
	Pictures   int                               // of it once it is full, at most
	Early      int                               // of it before, at most
	Real       bool                              // the real store on the disk, in place of twins
	Plant      func(op vfs.Op, name string) bool // flushes that lie, on every disk; nil: none
}

// DefaultPlan is what the proof plays.
func DefaultPlan() Plan { return Plan{Operations: 420, Pictures: 24, Early: 6} }

// fullAt is how many operations must have ended well for a history to be full; a segment of the log must have been reused
// by then, and a volume's head swung to a new root.
const fullAt = 200

// run is one seed on its way.
type run struct {
	plan Plan
	seed uint64
	rnd  *rand.Rand

	mu    sync.Mutex // guards tally
	tally Tally
}

// Play plays one seed. Its error is a violation, and says how to see it again.
func Play(seed uint64, plan Plan) (*Tally, error) {
	r := &run{plan: plan, seed: seed, rnd: rand.New(rand.NewPCG(seed, 0)), tally: Tally{Histories: 1, Cuts: map[string]int{}}}
	began := time.Now()
	pictures, err := r.main()
	if err == nil {
		err = r.all(pictures)
	}
	r.tally.Seconds = time.Since(began).Seconds()
	if err != nil {
		err = fmt.Errorf("seed %d: %w\nagain: OVS_POWERCUT_SEED=%d", seed, err, seed)
	}
	return &r.tally, err
}

func (r *run) count(f func(t *Tally)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.tally)
}

// main plays the history, and gives the pictures of it; the last one is that of its end.
func (r *run) main() ([]*picture, error) {
	w := newWorld(r.seed, r.plan.Real)
	l, err := r.first(w)
	if err != nil {
		return nil, err
	}
	h := newHistory(l, rand.New(rand.NewPCG(r.seed, 1)))
	if err := h.create(); err != nil {
		_, _ = l.cut()
		return nil, err
	}
	var mu sync.Mutex
	var pictures []*picture
	late, early := r.plan.Pictures, r.plan.Early
	l.points.look(func(name string, n int) {
		if !chosen(r.seed, name, n) {
			return
		}
		full := h.full()
		mu.Lock()
		room := &late
		if !full {
			room = &early
		}
		*room--
		some := *room >= 0
		mu.Unlock()
		if !some {
			return
		}
		if p := l.picture(name, n); p != nil {
			mu.Lock()
			p.full = full
			pictures = append(pictures, p)
			mu.Unlock()
		}
	})
	point := "the end"
	err = h.run(r.plan.Operations+200, func(i int) {
		if i == r.plan.Operations {
			point = r.arm(l.disk.Crash, 600)
		}
	})
	l.points.look(nil)
	if !l.gone() {
		point = "the end"
	}
	next, endErr := l.cut()
	r.look(l, next)
	if err == nil {
		err = endErr
	}
	if err == nil {
		err = h.answered()
	}
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	mu.Lock()
	defer mu.Unlock()
	end := &picture{w: w, disk: next, point: point, full: h.full()}
	r.count(func(t *Tally) {
		t.Operations += h.done
		for _, p := range pictures {
			if p.full {
				t.Pictures++
			} else {
				t.Early++
			}
		}
		if end.full {
			t.Ends++
		} else {
			t.Early++
		}
	})
	return append(pictures, end), nil
}

// look counts what the history went through.
func (r *run) look(l *life, next *vfs.Crash) {
	passed := l.points.counts()
	slots := 0
	if names, err := next.ReadDir(dir("log")); err == nil {
		for _, e := range names {
			if len(e.Name()) == len("segment-000000") {
				slots++
			}
		}
	}
	r.count(func(t *Tally) {
		t.Passed, t.Least, t.Slots = passed, maps.Clone(passed), slots
		if slots > 0 && passed["log header flushed"] > slots {
			t.Reused = 1
		}
		if passed["after swing of a volume's head"] > 0 {
			t.Swung = 1
		}
	})
}

// marks are those of the code that a cut can be ordered at.
var marks = []string{
	"log written", "log flushed", "log header written", "log header flushed", "log index written", "log index flushed",
	"asd fragment written", "asd fragment flushed", "asd fragment named",
}

// arm orders the cut of a running life, and says where.
func (r *run) arm(d *vfs.Crash, steps int) string {
	if r.rnd.IntN(3) == 0 {
		name := marks[r.rnd.IntN(len(marks))]
		d.CutAtMark(name, 1+r.rnd.IntN(3))
		return name
	}
	d.CutAt(1 + r.rnd.IntN(steps))
	return "a step of the disk"
}

// first is the first start, cut some times.
func (r *run) first(w *world) (*life, error) {
	d := vfs.NewCrash(r.seed)
	for range r.rnd.IntN(3) {
		d.CutAt(1 + r.rnd.IntN(120))
		l, err := r.start(w, d)
		if err != nil && !l.gone() {
			_, _ = l.cut()
			return nil, fmt.Errorf("first start: %w", err)
		}
		r.count(func(t *Tally) { t.First++ })
		if d, err = l.cut(); err != nil {
			return nil, fmt.Errorf("first start, cut: %w", err)
		}
	}
	l, err := r.start(w, d)
	if err != nil {
		_, _ = l.cut()
		return nil, fmt.Errorf("first start: %w", err)
	}
	return l, nil
}

func (r *run) start(w *world, d *vfs.Crash) (*life, error) {
	if r.plan.Plant != nil {
		d.IgnoreSync(r.plan.Plant)
	}
	return w.start(d, newPoints())
}

// all follows the pictures, some at a time.
func (r *run) all(pictures []*picture) error {
	limit := make(chan bool, 4*runtime.GOMAXPROCS(0))
	errs := make([]error, len(pictures))
	var wg sync.WaitGroup
	for i, p := range pictures {
		rnd := rand.New(rand.NewPCG(r.seed, uint64(100+i)))
		limit <- true
		wg.Go(func() {
			defer func() { <-limit }()
			if err := r.follow(p, rnd); err != nil {
				errs[i] = fmt.Errorf("picture %d, at the %d. %q: %w", i, p.n, p.point, err)
			}
		})
	}
	wg.Wait()
	r.count(func(t *Tally) {
		for _, p := range pictures {
			t.Cuts[p.point]++
		}
	})
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}

// follow starts the node from a picture, looks at everything, plays a shorter history, cuts and looks again.
func (r *run) follow(p *picture, rnd *rand.Rand) error {
	l, err := r.recover(p.w, p.disk, rnd, true)
	if err != nil {
		return err
	}
	h := newHistory(l, rnd)
	if rnd.IntN(4) > 0 {
		l.disk.CutAt(1 + rnd.IntN(1500))
	}
	err = h.run(40+rnd.IntN(40), nil)
	d, endErr := l.cut()
	if err == nil {
		err = endErr
	}
	if err == nil {
		err = h.answered()
	}
	if err != nil {
		return fmt.Errorf("second history: %w", err)
	}
	r.count(func(t *Tally) { t.Operations += h.done; t.Second++ })
	if l, err = r.recover(p.w, d, rnd, false); err != nil {
		return fmt.Errorf("after the second history: %w", err)
	}
	_, err = l.cut()
	return err
}

// recover starts the node, cut up to three times on the way, and looks at everything.
func (r *run) recover(w *world, d *vfs.Crash, rnd *rand.Rand, often bool) (*life, error) {
	cuts := rnd.IntN(2)
	if often {
		cuts = rnd.IntN(4)
	}
	for i := range cuts {
		d.CutAt(1 + rnd.IntN(1<<(1+rnd.IntN(8))))
		l, err := r.start(w, d)
		if err == nil {
			err = l.verify()
		}
		if err != nil && !l.gone() {
			_, _ = l.cut()
			return nil, fmt.Errorf("recovery %d: %w", i, err)
		}
		r.count(func(t *Tally) { t.Recoveries++ })
		if d, err = l.cut(); err != nil {
			return nil, fmt.Errorf("recovery %d: %w", i, err)
		}
	}
	l, err := r.start(w, d)
	if err == nil {
		err = l.verify()
	}
	if err != nil {
		_, _ = l.cut()
		return nil, fmt.Errorf("recovery after %d cuts of it: %w", cuts, err)
	}
	return l, nil
}
