package openapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// A Document is the description as people read it.
type Document struct {
	About string // Markdown
	Parts []Part
}

// A Part is the operations of one tag.
type Part struct {
	Name, About string
	Operations  []Operation
}

// An Operation is a route.
type Operation struct {
	ID, Method, Path string
	Summary, About   string // About is Markdown
	Caller           string
	Parameters       []Field
	Bodies           []Content
	Answers          []Answer
	Curl             string
}

// A Field is a parameter, a header or a member of an object.
type Field struct {
	Name, Type string
	Where      string // of a parameter: path, query or header
	Required   bool
	About      string // Markdown
	Example    string // of a parameter, if it is a text
}

// Content is a body of one media type.
type Content struct {
	Media  string
	Fields []Field
}

// An Answer is one of an operation.
type Answer struct {
	Status, About string
	Headers       []Field
	Codes         []string
	Contents      []Content
}

// callers are the values of x-caller.
var callers = map[string]string{
	"anyone":         "Anyone. No token is needed.",
	"any-caller":     "Anyone with a valid token.",
	"the-user":       "The user of the path, or a service.",
	"the-whole-user": "The user of the path with a token that names no device, or a service.",
	"the-device":     "The device of the path, its user with a token that names no device, or a service.",
	"a-service":      "A service.",
}

// Read returns the description. It is read once.
var Read = sync.OnceValue(func() *Document {
	root, err := readTree(inJSON)
	if err != nil {
		panic(err) // a test reads it
	}
	return newDocument(root)
})

func newDocument(root *node) *Document {
	d := &Document{About: root.text("info", "description")}
	for _, tag := range root.at("tags").items {
		d.Parts = append(d.Parts, Part{Name: tag.text("name"), About: tag.text("description")})
	}
	paths := root.at("paths")
	for _, path := range paths.names {
		item := paths.at(path)
		for _, method := range item.names {
			if method == "parameters" {
				continue
			}
			is := item.at(method)
			i := slices.IndexFunc(d.Parts, func(p Part) bool { return slices.Contains(is.at("tags").texts(), p.Name) })
			d.Parts[i].Operations = append(d.Parts[i].Operations, newOperation(root, path, method, item, is))
		}
	}
	return d
}

func newOperation(root *node, path, method string, item, is *node) Operation {
	o := Operation{
		ID: is.text("operationId"), Method: strings.ToUpper(method), Path: path,
		Summary: is.text("summary"), About: is.text("description"), Caller: callers[is.text("x-caller")],
	}
	for _, p := range slices.Concat(item.at("parameters").items, is.at("parameters").items) {
		p = p.resolve(root)
		schema := p.at("schema").resolve(root)
		o.Parameters = append(o.Parameters, Field{
			Name: p.text("name"), Where: p.text("in"), Required: p.at("required").value == true,
			Type: typeOf(root, schema), About: p.text("description"), Example: p.text("example"),
		})
	}
	body := is.at("requestBody").resolve(root)
	o.Bodies = contents(root, body.at("content"))
	for _, status := range is.at("responses").names {
		r := is.at("responses", status).resolve(root)
		a := Answer{Status: status, About: r.text("description"), Codes: r.at("x-codes").texts(), Contents: contents(root, r.at("content"))}
		for _, name := range r.at("headers").names {
			h := r.at("headers", name).resolve(root)
			a.Headers = append(a.Headers, Field{Name: name, Type: typeOf(root, h.at("schema").resolve(root)), About: h.text("description")})
		}
		o.Answers = append(o.Answers, a)
	}
	o.Curl = curl(o, body)
	return o
}

func contents(root, content *node) (list []Content) {
	for _, media := range content.names {
		c := Content{Media: media}
		if media != "application/problem+json" { // all problems are alike
			c.Fields = fieldsOf(root, "", content.at(media, "schema"))
		}
		list = append(list, c)
	}
	return list
}

// fieldsOf returns the members of a schema, and theirs, as "users[].devices[].status".
func fieldsOf(root *node, within string, schema *node) (list []Field) {
	schema = schema.resolve(root)
	for _, part := range slices.Concat(schema.at("allOf").items, schema.at("oneOf").items) {
		list = append(list, fieldsOf(root, within, part)...)
	}
	if items := schema.at("items"); !items.empty() {
		list = append(list, fieldsOf(root, within+"[]", items)...)
	}
	required := schema.at("required").texts()
	for _, name := range schema.at("properties").names {
		member := schema.at("properties", name).resolve(root)
		full := strings.TrimPrefix(within+"."+name, ".")
		list = append(list, Field{Name: full, Type: typeOf(root, member), Required: slices.Contains(required, name), About: member.text("description")})
		list = append(list, fieldsOf(root, full, member)...)
	}
	return list
}

// typeOf says what a value is, in a few words.
func typeOf(root, schema *node) string {
	is := schema.text("type")
	for _, t := range schema.at("type").texts() {
		if is == "" && t != "null" {
			is = t
		}
	}
	switch {
	case schema.text("contentEncoding") != "":
		return "base64"
	case schema.text("format") == "date-time":
		return "time"
	case is == "array":
		return strings.TrimSuffix("list of "+typeOf(root, schema.at("items").resolve(root)), " of ")
	case is == "string" && !schema.at("enum").empty():
		return strings.Join(schema.at("enum").texts(), ", ")
	case is == "string":
		return "text"
	case is == "" && !schema.at("allOf").empty():
		return "object"
	}
	return is
}

// curl is a command that asks for an operation.
func curl(o Operation, body *node) string {
	command, path := []string{"curl"}, o.Path
	if o.Method != "GET" {
		command = append(command, "-X "+o.Method)
	}
	if o.Caller != callers["anyone"] {
		command = append(command, `-H "Authorization: Bearer $TOKEN"`)
	}
	for _, p := range o.Parameters {
		if p.Where == "path" {
			path = strings.Replace(path, "{"+p.Name+"}", p.Example, 1)
		}
	}
	if sent := body.at("content", "application/json", "example"); !sent.empty() {
		command = append(command, "-H 'Content-Type: application/json'", "-d '"+sent.json()+"'")
	} else if file := body.text("content", "message/mls", "x-file"); file != "" {
		command = append(command, "-H 'Content-Type: message/mls'", "--data-binary @"+file)
	}
	return strings.Join(append(command, `"$SERVER`+path+`"`), " ")
}

// json writes a node as JSON.
func (n *node) json() string {
	switch {
	case n.items != nil:
		var list []string
		for _, item := range n.items {
			list = append(list, item.json())
		}
		return "[" + strings.Join(list, ",") + "]"
	case n.value != nil:
		text, _ := json.Marshal(n.value) // a text, a number or a boolean
		return string(text)
	}
	var list []string
	for _, name := range n.names {
		list = append(list, fmt.Sprintf("%q:%s", name, n.members[name].json()))
	}
	return "{" + strings.Join(list, ",") + "}"
}
