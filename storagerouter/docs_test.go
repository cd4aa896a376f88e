package storagerouter

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestSettingsAreDocumented: docs/ops/settings.md has a row for every key of the YAML file.
func TestSettingsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/ops/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	var walk func(prefix string, of reflect.Type)
	walk = func(prefix string, of reflect.Type) {
		for i := range of.NumField() {
			f := of.Field(i)
			key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if key == "-" {
				continue
			}
			key = prefix + key
			inner := f.Type
			if inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			switch {
			case inner == reflect.TypeFor[Preset](): // one row explains its four letters
			case inner.Kind() == reflect.Struct:
				walk(key+".", inner)
				continue
			}
			if !strings.Contains(string(text), "\n| `"+key+"` |") {
				t.Errorf("%s has no row", key)
			}
		}
	}
	walk("", reflect.TypeFor[Config]())
}
