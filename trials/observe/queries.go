package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// quoted is a string in a query, whose contents are no operators.
var quoted = regexp.MustCompile(`"[^"]*"`)

var (
	comparison = regexp.MustCompile(`([^=!<>~])(==|!=|<=|>=|<|>)([^=~])`)
	absence    = regexp.MustCompile(`\babsent\(`)
	exclusion  = regexp.MustCompile(`\bunless\b`)
)

// withData returns a query that has data whether or not what it compares is so:
// a comparison says 0 or 1 and leaves nothing out. What is joined by "and" still
// has to have the same labels on both sides.
func withData(query string) string {
	var strs []string
	bare := quoted.ReplaceAllStringFunc(query, func(s string) string {
		strs = append(strs, s)
		return `"` // one for each
	})
	// Matchers are inside braces, and have one of the strings right behind them.
	bare = comparison.ReplaceAllStringFunc(bare, func(s string) string {
		if strings.HasSuffix(s, `"`) {
			return s
		}
		return comparison.ReplaceAllString(s, "${1}${2} bool${3}")
	})
	bare = exclusion.ReplaceAllString(absence.ReplaceAllString(bare, "("), "and")
	parts := strings.Split(bare, `"`)
	var b strings.Builder
	for i, part := range parts {
		b.WriteString(part)
		if i < len(strs) {
			b.WriteString(strs[i])
		}
	}
	return b.String()
}

// checkQueries asks for every rule and every panel. What has no data has a while
// to get some: scrapes, rates and what is recorded come after what happened.
func (o *observation) checkQueries(ctx context.Context, rules []rule, board dashboard) error {
	const patience = 30 * time.Second
	pending := board.queries()
	for _, r := range rules {
		pending["rule "+r.Name] = withData(r.Query)
	}
	all := len(pending)
	failed := map[string]error{}
	for deadline := time.Now().Add(patience); len(pending) > 0 && time.Now().Before(deadline) && ctx.Err() == nil; {
		failed = map[string]error{}
		for name, query := range pending {
			if _, err := o.prometheus.query(ctx, query); err != nil {
				failed[name] = fmt.Errorf("%s: %w: %s", name, err, query)
			}
		}
		maps.DeleteFunc(pending, func(name, _ string) bool { return failed[name] == nil })
		time.Sleep(500 * time.Millisecond)
	}
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		wrong = append(wrong, failed[name])
	}
	if len(wrong) == 0 {
		o.say("%d queries of rules and panels have data", all)
	}
	return errors.Join(append(wrong, ctx.Err())...)
}
