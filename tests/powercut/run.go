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

// Plan says how a seed is played.
type Plan struct {
	Operations int                               // of the history, at least; the last cut comes after them
	Pictures   int                               // of it once it is full, at most
	Early      int                               // of it before, at most
	Real       bool                              // the real store on the disk, in place of twins
	Plant      func(op vfs.Op, name string) bool // flushes that lie, on every disk; nil: none
	Scarce     map[string]bool                   // points to cut at more often than others
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

	mu     sync.Mutex // guards the rest
	tally  Tally
	starts map[string]int // points that a start passes, and how often at most
}

// Play plays one seed. Its error is a violation, and says how to see it again.
func Play(seed uint64, plan Plan) (*Tally, error) {
	r := &run{plan: plan, seed: seed, rnd: rand.New(rand.NewPCG(seed, 0)), starts: map[string]int{},
		tally: Tally{Histories: 1, Cuts: map[string]int{}, Starts: map[string]int{}}}
	began := time.Now()
	pictures, err := r.main()
	if err == nil {
		err = r.all(pictures)
	}
	r.tally.Seconds = time.Since(began).Seconds()
	if t := &r.tally; r.torn() {
		t.Torn = t.Main() + t.Early + t.Second + t.Recoveries + t.First
	}
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

// mostExtra bounds the pictures of one scarce point that a history takes beside its budgets: each holds a disk.
const mostExtra = 2

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
	extra := map[string]int{} // by scarce point: pictures outside these budgets
	l.points.look(func(name string, n int) {
		if !chosen(r.seed, name, n, r.plan.Scarce[name]) {
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
		if !some && r.plan.Scarce[name] && extra[name] < mostExtra {
			extra[name]++
			some = true
		}
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
	cramped := !r.plan.Real && crampedSeed(r.seed)
	err = h.run(r.plan.Operations+200, func(i int) {
		switch {
		case i == r.plan.Operations:
			point = r.arm(l.disk.Crash, 600)
		case i == crampedFrom && cramped:
			h.cramp(r.seed%8 == 1)
		case i == crampedTo && cramped:
			h.giveRoom()
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
		t.Acks.add(&h.acks)
		if cramped {
			t.Cramped = 1
		}
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

// torn tells whether the cuts of this seed tear sectors.
func (r *run) torn() bool { return r.seed%2 == 1 }

// first is the first start, cut some times.
func (r *run) first(w *world) (*life, error) {
	d := vfs.NewCrash(r.seed)
	d.SetTear(r.torn())
	for range r.rnd.IntN(6) {
		l, d2, err := r.cutStart(w, d, r.rnd, 120, func(*life) error { return nil })
		if err != nil {
			return nil, fmt.Errorf("first start: %w", err)
		}
		r.count(func(t *Tally) { t.First++ })
		r.learn(l)
		d = d2
	}
	l, err := r.start(w, d, newPoints())
	r.learn(l)
	if err != nil {
		_, _ = l.cut()
		return nil, fmt.Errorf("first start: %w", err)
	}
	return l, nil
}

func (r *run) start(w *world, d *vfs.Crash, p *points) (*life, error) {
	if r.plan.Plant != nil {
		d.IgnoreSync(r.plan.Plant)
	}
	return w.start(d, p)
}

// learn notes which points a start passes.
func (r *run) learn(l *life) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, n := range l.points.counts() {
		r.starts[name] = max(r.starts[name], n)
	}
}

// aim chooses a point that a start passes, a scarce one if there is one, and one of its occurrences.
func (r *run) aim(rnd *rand.Rand) (name string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all, scarce []string
	for _, name := range slices.Sorted(maps.Keys(r.starts)) {
		all = append(all, name)
		if r.plan.Scarce[name] {
			scarce = append(scarce, name)
		}
	}
	if len(scarce) > 0 && rnd.IntN(3) > 0 {
		all = scarce
	}
	if len(all) == 0 {
		return "", 0
	}
	name = all[rnd.IntN(len(all))]
	return name, 1 + rnd.IntN(r.starts[name])
}

// cutStart starts the node and takes the power while it does or looks at everything: at a step of the disk or a point.
func (r *run) cutStart(w *world, d *vfs.Crash, rnd *rand.Rand, steps int, look func(*life) error) (*life, *vfs.Crash, error) {
	p, point := newPoints(), "a step of the disk"
	name, n := r.aim(rnd)
	if name == "" || rnd.IntN(2) == 0 {
		d.CutAt(1 + rnd.IntN(steps))
	} else {
		point = name
		kill := w.twins != nil && rnd.IntN(4) == 0
		p.look(func(at string, k int) {
			switch {
			case at != name || k != n:
			case kill:
				d.Kill()
			default:
				d.Cut()
			}
		})
	}
	l, err := r.start(w, d, p)
	if err == nil {
		err = look(l)
	}
	r.learn(l)
	if l.gone() {
		r.count(func(t *Tally) { t.Starts[point]++ })
	} else if err != nil && !full(err) {
		_, _ = l.cut()
		return l, nil, err
	}
	next, err := l.over(rnd.IntN(4) == 0)
	return l, next, err
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
	h.wasCramped = p.cramped // the node learns of its room twice a second
	killed := p.w.twins != nil && rnd.IntN(4) == 0
	switch {
	case killed: // between write and flush of a batch: the next start finds it, and a later cut must not take it away
		at := 1 + rnd.IntN(20)
		written := l.points.counts()["log written"]
		l.points.look(func(name string, n int) {
			if name == "log written" && n == written+at {
				l.disk.Kill()
			}
		})
	case rnd.IntN(3) > 0:
		l.disk.CutAt(1 + rnd.IntN(1500))
	}
	err = h.run(40+rnd.IntN(40), nil)
	d, endErr := l.over(rnd.IntN(3) == 0)
	if err == nil {
		err = endErr
	}
	if err == nil {
		err = h.answered()
	}
	if err != nil {
		return fmt.Errorf("second history: %w", err)
	}
	r.count(func(t *Tally) {
		t.Operations += h.done
		t.Second++
		t.Acks.add(&h.acks)
	})
	if l, err = r.recover(p.w, d, rnd, killed); err != nil {
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
	if rnd.IntN(2) == 0 {
		d.SetCapacity(roomy) // else it may be as full as it was
	}
	for i := range cuts {
		_, next, err := r.cutStart(w, d, rnd, 1<<(1+rnd.IntN(8)), (*life).verify)
		if err != nil {
			return nil, fmt.Errorf("recovery %d: %w", i, err)
		}
		r.count(func(t *Tally) { t.Recoveries++ })
		d = next
	}
	l, err := r.start(w, d, newPoints())
	if full(err) { // it may refuse to start on a full disk, and starts when there is room
		if d, err = l.cut(); err == nil {
			d.SetCapacity(roomy)
			l, err = r.start(w, d, newPoints())
		}
	}
	if err == nil {
		err = l.verify()
	}
	if err != nil {
		_, _ = l.cut()
		return nil, fmt.Errorf("recovery after %d cuts of it: %w", cuts, err)
	}
	l.disk.SetCapacity(roomy)
	return l, nil
}
