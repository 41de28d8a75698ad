package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"
)

// A part is one value of a setting that has several, such as pair=100+20/h.
type part struct {
	name  string
	value cli.Value
}

// parts is a setting whose value is a list, such as pair=100+20/h,caller=0. A part that is not
// in the list does not change. What is the word for one part.
type parts struct {
	what string
	list []part
}

func (p parts) Set(s string) error {
	given := map[string]bool{}
	for item := range strings.SplitSeq(s, ",") {
		name, value, found := strings.Cut(strings.TrimSpace(item), "=")
		one := p.named(name)
		switch {
		case !found:
			return fmt.Errorf("%q is not like %s=%s", item, p.list[0].name, p.list[0].value)
		case one == nil:
			return fmt.Errorf("no %s is called %q; there are %s", p.what, name, strings.Join(p.names(), ", "))
		case given[name]:
			return fmt.Errorf("%s is there twice", name)
		}
		given[name] = true
		if err := one.Set(value); err != nil {
			return fmt.Errorf("%s=%s: %w", name, value, err)
		}
	}
	return nil
}

func (p parts) named(name string) cli.Value {
	for _, one := range p.list {
		if one.name == name {
			return one.value
		}
	}
	return nil
}

func (p parts) names() (names []string) {
	for _, one := range p.list {
		names = append(names, one.name)
	}
	return names
}

// String returns all parts, also those that were not set.
func (p parts) String() string {
	texts := make([]string, len(p.list))
	for i, one := range p.list {
		texts[i] = one.name + "=" + one.value.String()
	}
	return strings.Join(texts, ",")
}

func (p parts) Get() any { return p.String() }
