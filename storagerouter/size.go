package storagerouter

import (
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Size is a number of bytes that reads and writes itself with binary units: "4 GiB", "256MiB", "0".
type Size int64

var units = []struct {
	name  string
	shift uint
}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}}

// String uses the largest unit that divides the size.
func (s Size) String() string {
	for _, u := range units {
		if s != 0 && s&(1<<u.shift-1) == 0 {
			return fmt.Sprintf("%d %s", s>>u.shift, u.name)
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Set parses a size (pflag.Value).
func (s *Size) Set(text string) error {
	t := strings.TrimSpace(text)
	shift := uint(0)
	for _, u := range units {
		if n, ok := strings.CutSuffix(t, u.name); ok {
			t, shift = strings.TrimSpace(n), u.shift
			break
		}
	}
	n, err := strconv.ParseInt(t, 10, 64)
	if err != nil || n < 0 || n > (1<<62)>>shift {
		return fmt.Errorf("%q is not a size such as 4096, 256 MiB or 4 GiB", text)
	}
	*s = Size(n << shift)
	return nil
}

// Type names the flag's argument (pflag.Value).
func (s *Size) Type() string { return "size" }

// MarshalYAML writes the size with its unit.
func (s Size) MarshalYAML() (any, error) { return s.String(), nil }

// UnmarshalYAML reads a number or a string with a unit.
func (s *Size) UnmarshalYAML(n *yaml.Node) error { return s.Set(n.Value) }
