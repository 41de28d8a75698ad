package openapi

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// released is the description of the last release. A release copies openapi.json to it.
//
//go:embed testdata/released.json
var released []byte

// TestItOnlyGrows: a client that was written for the last release understands this one.
func TestItOnlyGrows(t *testing.T) {
	for _, what := range broken(t, released, inJSON) {
		t.Error(what)
	}
}

func broken(t *testing.T, old, now []byte) []string {
	t.Helper()
	c := new(comparison)
	var err error
	if c.old, err = readTree(old); err != nil {
		t.Fatal(err)
	}
	if c.now, err = readTree(now); err != nil {
		t.Fatal(err)
	}
	c.compare()
	return c.broken
}

// A comparison finds what breaks a client that knows the old description only.
type comparison struct {
	old, now *node
	broken   []string
	within   []string // schemas that are being compared
}

func (c *comparison) breaks(where, what string, args ...any) {
	c.broken = append(c.broken, where+": "+fmt.Sprintf(what, args...))
}

func (c *comparison) compare() {
	for _, path := range c.old.at("paths").names {
		for _, method := range c.old.at("paths", path).names {
			where := strings.ToUpper(method) + " " + path
			old, now := c.old.at("paths", path, method), c.now.at("paths", path, method)
			switch {
			case method == "parameters":
			case now.empty():
				c.breaks(where, "it is gone")
			default:
				c.operation(where, old, now, c.old.at("paths", path, "parameters").items, c.now.at("paths", path, "parameters").items)
			}
		}
	}
}

func (c *comparison) operation(where string, old, now *node, oldOfPath, nowOfPath []*node) {
	if old.text("x-caller") != now.text("x-caller") {
		c.breaks(where, "others may use it: %s, and %s before", now.text("x-caller"), old.text("x-caller"))
	}
	before := c.parameters(c.old, slices.Concat(oldOfPath, old.at("parameters").items))
	after := c.parameters(c.now, slices.Concat(nowOfPath, now.at("parameters").items))
	for name, p := range before {
		if after[name] == nil {
			c.breaks(where, "the parameter %s is gone", name)
			continue
		}
		c.schema(where+" "+name, p.at("schema"), after[name].at("schema"), sent)
	}
	for name, p := range after {
		if needed := p.at("required").value == true; needed && (before[name] == nil || before[name].at("required").value != true) {
			c.breaks(where, "the parameter %s is needed", name)
		}
	}
	oldBody, nowBody := old.at("requestBody").resolve(c.old), now.at("requestBody").resolve(c.now)
	if nowBody.at("required").value == true && oldBody.at("required").value != true {
		c.breaks(where, "a body is needed")
	}
	c.contents(where+" body", oldBody.at("content"), nowBody.at("content"), sent)
	for _, status := range old.at("responses").names {
		was, is := old.at("responses", status).resolve(c.old), now.at("responses", status).resolve(c.now)
		switch {
		case is.empty() && status >= "400": // it does not happen any more
			continue
		case is.empty():
			c.breaks(where, "%s is gone", status)
			continue
		}
		for _, name := range was.at("headers").names {
			if is.at("headers", name).empty() {
				c.breaks(where, "%s has no header %s", status, name)
			}
		}
		c.contents(where+" "+status, was.at("content"), is.at("content"), received)
	}
}

func (c *comparison) parameters(root *node, list []*node) map[string]*node {
	named := make(map[string]*node)
	for _, p := range list {
		p = p.resolve(root)
		named[p.text("in")+" "+p.text("name")] = p
	}
	return named
}

func (c *comparison) contents(where string, old, now *node, way direction) {
	for _, media := range old.names {
		if now.at(media).empty() && !slices.Contains(now.names, media) {
			c.breaks(where, "%s is gone", media)
			continue
		}
		c.schema(where+" "+media, old.at(media, "schema"), now.at(media, "schema"), way)
	}
}

// A direction is which way a value goes.
type direction string

const (
	sent     direction = "sent"     // by the client: what it may send may only become more
	received direction = "received" // by the client: what it can rely on may only become more
)

func (c *comparison) schema(where string, old, now *node, way direction) {
	if ref := old.text("$ref"); ref != "" {
		if slices.Contains(c.within, ref) {
			return
		}
		c.within = append(c.within, ref)
		defer func() { c.within = c.within[:len(c.within)-1] }()
	}
	before, after := shapeOf(c.old, old), shapeOf(c.now, now)
	if before.kind != after.kind {
		c.breaks(where, "it is %s, and was %s", after.kind, before.kind)
		return
	}
	for _, value := range before.values {
		if way == sent && after.values != nil && !slices.Contains(after.values, value) {
			c.breaks(where, "%s may not be sent any more", value)
		}
	}
	for name, field := range before.fields {
		switch {
		case after.fields[name] == nil:
			c.breaks(where, "%s is gone", name)
			continue
		case way == received && before.required[name] && !after.required[name]:
			c.breaks(where, "%s may be missing", name)
		}
		c.schema(where+"."+name, field, after.fields[name], way)
	}
	for name := range after.required {
		if way == sent && !before.required[name] {
			c.breaks(where, "%s is needed", name)
		}
	}
	if before.items != nil && after.items != nil {
		c.schema(where+"[]", before.items, after.items, way)
	}
}

// A shape is a schema with all its parts put together.
type shape struct {
	kind     string
	values   []string
	fields   map[string]*node
	required map[string]bool
	items    *node
}

func shapeOf(root, schema *node) shape {
	s := shape{fields: make(map[string]*node), required: make(map[string]bool)}
	s.add(root, schema)
	return s
}

func (s *shape) add(root, schema *node) {
	schema = schema.resolve(root)
	if kind := strings.Join(append(schema.at("type").texts(), schema.text("type")), " "); kind != "" {
		s.kind = kind
	}
	s.values = append(s.values, schema.at("enum").texts()...)
	for _, name := range schema.at("properties").names {
		s.fields[name] = schema.at("properties", name)
	}
	for _, name := range schema.at("required").texts() {
		s.required[name] = true
	}
	if items := schema.at("items"); !items.empty() {
		s.items = items
	}
	for _, part := range slices.Concat(schema.at("allOf").items, schema.at("oneOf").items) {
		s.add(root, part)
	}
}

// TestWhatBreaksAClientIsFound changes the description in one place each.
func TestWhatBreaksAClientIsFound(t *testing.T) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, inJSON); err != nil {
		t.Fatal(err)
	}
	old := compact.String()
	for _, row := range []struct{ what, from, to, want string }{
		{"nothing", "", "", ""},
		{"other words", `"summary":"Claim the`, `"summary":"Ask for the`, ""},
		{"another path", `"/v1/key-packages/give-back":{`, `"/v1/key-packages/return":{`, "POST /v1/key-packages/give-back: it is gone"},
		{"another method", `"delete":{"tags":["posting"]`, `"patch":{"tags":["posting"]`, "DELETE /v1/welcomes/{id}: it is gone"},
		{"another name of a parameter", `"name":"dry_run"`, `"name":"dry"`, "POST /v1/welcomes: the parameter query dry_run is gone"},
		{"a header is needed", `"name":"Idempotency-Key",`, `"name":"Idempotency-Key","required":true,`, "the parameter header Idempotency-Key is needed"},
		{"others may", `"x-caller":"the-user"`, `"x-caller":"a-service"`, "GET /v1/users/{user}/devices: others may use it: a-service, and the-user before"},
		{"a value less to send", `"undecryptable","declined",`, `"declined",`, "undecryptable may not be sent any more"},
		{"another name of a field", `"restore_epoch":{"$ref"`, `"epoch":{"$ref"`, "restore_epoch is gone"},
		{"another type", `"withdrawn_fresh":{"$ref":"#/components/schemas/Count"`, `"withdrawn_fresh":{"type":"array"`, "it is array, and was integer"},
		{"a field may be missing", `"required":["id","posted_at",`, `"required":["id",`, "posted_at may be missing"},
		{"another status of success", `"201":{`, `"202":{`, "201 is gone"},
		{"another media type", `"message/mls":{`, `"application/mls":{`, "message/mls is gone"},
		{"another header", `"Welcome-More":{`, `"More":{`, "has no header Welcome-More"},
		{"a field more", `"more":{`, `"others":{"type":"boolean"},"more":{`, ""},
		{"a status more", `"enum":["stored",`, `"enum":["kept","stored",`, ""},
	} {
		changed := strings.Replace(old, row.from, row.to, 1)
		if row.what != "nothing" && changed == old {
			t.Errorf("%s: there is no %q to change", row.what, row.from)
		}
		got := strings.Join(broken(t, []byte(old), []byte(changed)), "\n")
		if row.want == "" && got != "" || !strings.Contains(got, row.want) {
			t.Errorf("%s: got %q, want %q", row.what, got, row.want)
		}
	}
}
