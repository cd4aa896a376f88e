package ovs

import "testing"

// What an operator reads holds no bytes that a terminal would act on.
func TestErrorIsLegible(t *testing.T) {
	for on, want := range map[string]string{
		"naïve name":    "op naïve name: not found",
		"i\x00\x1b[2J":  `op "i\x00\x1b[2J": not found`,
		"key\xff\x00up": `op "key\xff\x00up": not found`,
	} {
		if got := E("op", KindNotFound, on, nil).Error(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
