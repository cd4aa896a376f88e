package powercut

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
	Torn       int            `json:"torn"`       // of all these, how many tore sectors
	Cramped    int            `json:"cramped"`    // histories whose disk was as good as full for a while
	Acks       Acks           `json:"acks"`
	Cuts       map[string]int `json:"cuts"`   // of histories, by point
	Starts     map[string]int `json:"starts"` // of starts and recoveries, by point
	Passed     map[string]int `json:"passed"` // points passed by the histories
	Least      map[string]int `json:"least"`  // the same, in the history that passed it least often
	Slots      int            `json:"slots"`  // segment files of the log at the end, summed up
	Reused     int            `json:"reused"` // histories that reused a segment of the log
	Swung      int            `json:"swung"`  // histories that swung a volume's head to a new root
	Seconds    float64        `json:"seconds"`
}

// Main is the number of cuts of full histories.
func (t *Tally) Main() int { return t.Pictures + t.Ends }

// Add puts another one's figures in.
func (t *Tally) Add(x *Tally) {
	if t.Cuts == nil {
		t.Cuts, t.Starts, t.Passed, t.Least = map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
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
	t.Torn += x.Torn
	t.Cramped += x.Cramped
	t.Seconds += x.Seconds
	t.Acks.add(&x.Acks)
	for k, n := range x.Cuts {
		t.Cuts[k] += n
	}
	for k, n := range x.Starts {
		t.Starts[k] += n
	}
	for k, n := range x.Passed {
		t.Passed[k] += n
	}
}

// Scarce is the points that were cut fewer than n times.
func (t *Tally) Scarce(n int) map[string]bool {
	scarce := map[string]bool{}
	for point := range t.Passed {
		if t.Cuts[point]+t.Starts[point] < n {
			scarce[point] = true
		}
	}
	return scarce
}
