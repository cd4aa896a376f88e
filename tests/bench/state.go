package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// fresh is how old an unfinished run may be and still be continued: its rows are to be compared with each other.
const fresh = time.Hour

// state is a run as far as it came. It is saved after every row; a run that was cut off is continued by the next start
// with the same binary and settings.
type state struct {
	Binary  string // SHA-256
	LogSize string
	Scale   float64
	Began   time.Time
	Ended   time.Time // zero: not finished
	Starts  int       // processes that worked on it
	Load    []float64 // average of the machine at each start and at the end
	Results map[string]result
	Costs   map[string]costs
	Failed  map[string]string // rows that could not be measured, and why

	file string
}

func openState(file, bin, logSize string, scale float64, anew bool) (*state, error) {
	text, err := os.ReadFile(bin)
	if err != nil {
		return nil, err
	}
	s := &state{}
	sum := fmt.Sprintf("%x", sha256.Sum256(text))
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if anew || err != nil || json.Unmarshal(old, s) != nil || s.Binary != sum || s.LogSize != logSize || s.Scale != scale ||
		!s.Ended.IsZero() || time.Since(s.Began) > fresh {
		s = &state{Binary: sum, LogSize: logSize, Scale: scale, Began: time.Now(), Results: map[string]result{}, Costs: map[string]costs{}}
	}
	s.file = file
	s.Failed = map[string]string{}
	s.Starts++
	s.Load = append(s.Load, loadAverage())
	return s, s.save()
}

func (s *state) save() error {
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(s.file+".new", b, 0o644); err != nil {
		return err
	}
	return os.Rename(s.file+".new", s.file)
}
