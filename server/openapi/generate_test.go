package openapi

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the files that are made of openapi.yaml")

// TestGenerated: what is made of openapi.yaml is made of this one.
func TestGenerated(t *testing.T) {
	var node yaml.Node
	if err := yaml.Unmarshal(inYAML, &node); err != nil {
		t.Fatal(err)
	}
	var compact, indented bytes.Buffer
	if err := writeJSON(&compact, node.Content[0]); err != nil {
		t.Fatal(err)
	}
	if err := json.Indent(&indented, compact.Bytes(), "", " "); err != nil {
		t.Fatal(err)
	}
	generated(t, "openapi.json", append(indented.Bytes(), '\n'))
}

// generated compares a file with what it has to be, or writes it.
func generated(t *testing.T, name string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not made of this openapi.yaml (%v): run go generate ./server/openapi", name, err)
	}
}

// writeJSON writes YAML as JSON, with everything in its order.
func writeJSON(b *bytes.Buffer, n *yaml.Node) error {
	switch n.Kind {
	case yaml.MappingNode:
		seen := make(map[string]bool)
		b.WriteByte('{')
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if seen[key] {
				return fmt.Errorf("line %d: %s stands twice", n.Content[i].Line, key)
			}
			seen[key] = true
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeScalar(b, key); err != nil {
				return err
			}
			b.WriteByte(':')
			if err := writeJSON(b, n.Content[i+1]); err != nil {
				return err
			}
		}
		b.WriteByte('}')
		return nil
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, element := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeJSON(b, element); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	case yaml.ScalarNode:
		var value any
		if err := n.Decode(&value); err != nil {
			return err
		}
		return writeScalar(b, value)
	}
	return fmt.Errorf("line %d: anchors and aliases are not read", n.Line)
}

func writeScalar(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	b.Truncate(b.Len() - 1) // the end of a line
	return err
}
