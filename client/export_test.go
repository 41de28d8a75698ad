package client

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

// In tests every answer is read strictly: what the server has and this package lacks is an
// error. Fields notes what was there, so that what this package has and the server lacks is
// found too.
func init() { unmarshal = strictly }

// Loosely has answers read as they are in a program, until it is called back.
func Loosely() (strict func()) {
	unmarshal = json.Unmarshal
	return func() { unmarshal = strictly }
}

// Pausing has a client note its pauses instead of making them.
func (c *Client) Pausing(note func(time.Duration)) *Client {
	c.pause = func(ctx context.Context, d time.Duration) error {
		note(d)
		return ctx.Err()
	}
	return c
}

var (
	mu   sync.Mutex
	seen = map[string]bool{}
	all  = map[string]bool{}
)

func strictly(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	note(reflect.TypeOf(v).Elem(), value)
	return nil
}

// note notes which fields of t are in a value. t is also noted where there is no value.
func note(t reflect.Type, value any) {
	switch {
	case t == reflect.TypeFor[time.Time]():
	case t.Kind() == reflect.Pointer:
		note(t.Elem(), value)
	case t.Kind() == reflect.Slice:
		list, _ := value.([]any)
		for _, element := range list {
			note(t.Elem(), element)
		}
	case t.Kind() == reflect.Struct:
		object, _ := value.(map[string]any)
		noteFields(t, t.Name(), object)
	}
}

func noteFields(t reflect.Type, of string, object map[string]any) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous {
			noteFields(f.Type, of, object)
			continue
		}
		all[of+"."+name] = true
		if member, ok := object[name]; ok {
			seen[of+"."+name] = true
			note(f.Type, member)
		}
	}
}

// NeverSeen are the fields of answers that no answer had.
func NeverSeen() (fields []string) {
	mu.Lock()
	defer mu.Unlock()
	for field := range all {
		if !seen[field] {
			fields = append(fields, field)
		}
	}
	slices.Sort(fields)
	return fields
}
