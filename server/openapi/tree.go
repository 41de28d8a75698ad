package openapi

import (
	"bytes"
	"encoding/json"
	"strings"
)

// A node is a value of JSON whose members are in their order.
type node struct {
	names   []string
	members map[string]*node
	items   []*node
	value   any // of a text, a number or a boolean
}

func readTree(text []byte) (*node, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return readNode(d)
}

func readNode(d *json.Decoder) (*node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	n := &node{members: make(map[string]*node)}
	switch token {
	case json.Delim('{'), json.Delim('['):
	default:
		n.value = token
		return n, nil
	}
	for d.More() {
		name := ""
		if token == json.Delim('{') {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			name = key.(string)
		}
		child, err := readNode(d)
		if err != nil {
			return nil, err
		}
		if token == json.Delim('[') {
			n.items = append(n.items, child)
			continue
		}
		n.names, n.members[name] = append(n.names, name), child
	}
	_, err = d.Token()
	return n, err
}

// at follows members; what is not there is an empty node.
func (n *node) at(path ...string) *node {
	for _, name := range path {
		child, ok := n.members[name]
		if !ok {
			return new(node)
		}
		n = child
	}
	return n
}

func (n *node) text(path ...string) string {
	text, _ := n.at(path...).value.(string)
	return text
}

func (n *node) texts() (list []string) {
	for _, item := range n.items {
		if text, ok := item.value.(string); ok {
			list = append(list, text)
		}
	}
	return list
}

func (n *node) empty() bool { return n.value == nil && len(n.names) == 0 && len(n.items) == 0 }

// resolve follows a $ref of n, a part of root. A description beside it stands before the
// one that it leads to.
func (n *node) resolve(root *node) *node {
	ref := n.text("$ref")
	if ref == "" {
		return n
	}
	target := root.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...).resolve(root)
	if beside := n.at("description"); !beside.empty() {
		copied := *target
		copied.members = make(map[string]*node, len(target.members)+1)
		for name, member := range target.members {
			copied.members[name] = member
		}
		copied.members["description"] = beside
		return &copied
	}
	return target
}
