package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"welcomed/delivery"
	"welcomed/mls"
)

// A body has every kind of member that requests have.
type body struct {
	Items   []blob       `json:"items"`
	Blob    *blob        `json:"blob"`
	Text    *string      `json:"text"`
	Refs    []string     `json:"refs"`
	Max     *int         `json:"max"`
	Devices []deviceJSON `json:"devices"`
}

// FuzzParseJSON: parseJSON accepts what package json does, except members that
// stand twice or in another case, and reads the same in it.
func FuzzParseJSON(f *testing.F) {
	for _, text := range []string{
		`{}`, ` { } `, `null`, `[]`, `3`, `"{}"`, ``, ` `, `{`, `}`, `{}x`, `{},`, `{} {}`,
		`{"items":[]}`, `{"items":null}`, `{"items":["AA==","_-8"," ","AA"]}`, `{"items":["AAAA",null,"BBBB"]}`,
		`{"items":["AAAA",]}`, `{"items":[,"AAAA"]}`, `{"items":["AAAA" "BBBB"]}`, `{"items":["AAAA"}`, `{"items":["AAAA"]]}`,
		`{"items":[["AAAA"]]}`, `{"items":{"a":"AAAA"}}`, `{"items":"AAAA"}`, `{"items":[3]}`, `{"items":[true]}`,
		`{"blob":"AA\/A"}`, `{"blob":"AA\/\/"}`, `{"blob":"AA\u002fA"}`, `{"blob":"AA\u00fcA"}`, `{"blob":"AA\u002"}`, `{"blob":"AAA\/\"}`, `{"blob":"\u0041AAA"}`, `{"blob":"AA\nAA"}`, "{\"blob\":\"AA\nAA\"}", `{"blob":""}`, `{"blob":null}`, `{"blob":nul}`,
		`{"blob":"AAAA\"}`, `{"blob":"AAAA\\"}`, `{"blob":"AAAA\\\""}`, `{"blob":"AAA","text":"}"}`, `{"blob":"AB=="}`, "{\"blob\":\"\xff\"}",
		`{"text":"a","refs":["b","c"],"max":3}`, `{"text":"a" "refs":[]}`, `{"text" "a"}`, `{"text":}`, `{"text"}`, `{:"a"}`, `{"text":"a",}`, `{,}`, `{,"text":"a"}`,
		`{"text":"a\"b","max":3}`, `{"text":"\\","max":3}`, `{"refs":["\"]","\\\"","\\"]}`, `{"\"text":3}`, `{"text\\":3}`,
		`{"max":1e2}`, `{"max":100}`, `{"max":1.5}`, `{"max":"3"}`, `{"max":-}`, `{"max":01}`, `{"max":tru"e"}`, `{"max":3]`,
		`{"\u0074ext":"a"}`, `{"text":"a","\u0074ext":"b"}`, `{"text":1,"text":2}`, `{"Text":"a"}`, `{"other":1}`, "{\"te\txt\":1}", `{"te\xxt":1}`, `{3:4}`, `{null:4}`,
		`{"devices":[{"user":"a","device":"b"}]}`, `{"devices":[{"user":"a","other":"b"}]}`, `{"devices":[{"user":"]}\"","device":"[{"}]}`, `{"devices":[}]`,
		`{"blob":"` + strings.Repeat("AbC/", 1024) + `AA=="}`, `{"blob":"` + strings.Repeat("AAAA", 1023) + `AA==AAAA"}`, `{"blob":"` + strings.Repeat("AAAA", 1024) + `=AAA"}`,
		`{"items":["` + strings.Repeat(`A\/-_`, 5000) + `","AB=="]}`, `{"items":["` + strings.Repeat(`Ab\/+`, 5000) + `"]}`,
		`{"refs":[` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got, want body
		reference := parsePlainly(text, &want)
		err := parseJSON(bytes.Clone(text), &got)
		if (err == nil) != reference {
			t.Fatalf("%q: %v; accepted by package json: %v", text, err, reference)
		}
		if err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: got %+v, want %+v", text, got, want)
		}
	})
}

// parsePlainly is parseJSON by package json alone.
func parsePlainly(text []byte, v *body) bool {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if d.Decode(v) != nil {
		return false
	}
	if _, err := d.Token(); err != io.EOF {
		return false
	}
	return namesOnce(text)
}

// namesOnce reports whether no member of the object stands twice or in another
// case; text is JSON.
func namesOnce(text []byte) bool {
	d := json.NewDecoder(bytes.NewReader(text))
	if open, _ := d.Token(); open != json.Delim('{') {
		return true
	}
	seen := map[any]bool{"items": false, "blob": false, "text": false, "refs": false, "max": false, "devices": false}
	for d.More() {
		name, _ := d.Token()
		if again, known := seen[name]; again || !known {
			return false
		}
		seen[name] = true
		_ = d.Decode(new(json.RawMessage))
	}
	return true
}

// BenchmarkParseJSON shows why objects are not left to package json: a Welcome
// of a megabyte, and a hundred KeyPackages.
func BenchmarkParseJSON(b *testing.B) {
	text := base64.StdEncoding.EncodeToString(make([]byte, 1<<20))
	small := `"` + strings.Repeat("AAAA", 100) + `"`
	for _, row := range []struct{ name, body string }{
		{"welcome", `{"blob":"` + text + `"}`},
		{"key-packages", `{"items":[` + small + strings.Repeat(","+small, 99) + `]}`},
	} {
		for _, way := range []struct {
			name  string
			parse func([]byte, *body) bool
		}{
			{"ours", func(text []byte, v *body) bool { return parseJSON(text, v) == nil }},
			{"package-json", parsePlainly},
		} {
			b.Run(row.name+"/"+way.name, func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(row.body)))
				for b.Loop() {
					if !way.parse([]byte(row.body), new(body)) {
						b.Fatal("refused")
					}
				}
			})
		}
	}
}

func TestHugeListsOfNothingAreNotRead(t *testing.T) {
	var body struct {
		Users  []delivery.UserID `json:"users"`
		Refs   []string          `json:"refs"`
		Suites []mls.CipherSuite `json:"suites"`
	}
	if err := parseJSON([]byte(`{"suites":[1`+strings.Repeat(",1", mostElements)+`]}`), &body); !errors.Is(err, errBadRequest) {
		t.Errorf("suites: %v", err)
	}
	for _, name := range []string{"users", "refs"} {
		for n, refused := range map[int]bool{mostElements: false, mostElements + 1: true} {
			err := parseJSON([]byte(`{"`+name+`":["`+strings.Repeat(`","`, n-1)+`"]}`), &body)
			if errors.Is(err, errBadRequest) != refused || !refused && err != nil {
				t.Errorf("%d %s: %v", n, name, err)
			}
		}
	}
}

// TestEmptyObjectsAreNotRead: 9 MB of null would take three seconds.
func TestEmptyObjectsAreNotRead(t *testing.T) {
	var body struct {
		KeyPackages []blob `json:"key_packages"`
	}
	object := `"` + strings.Repeat("A", 400) + `"`
	for text, refused := range map[string]bool{
		`null` + strings.Repeat(`,null`, 99):          false, // each is refused by its index
		`null` + strings.Repeat(`,null`, 1_800_000):   true,
		`""` + strings.Repeat(`,""`, 10_000):          true,
		object + strings.Repeat(`,`+object, 1_000):    false,
		object + strings.Repeat(`,null`, 1_000_000/2): true,
	} {
		body.KeyPackages = nil
		if err := parseJSON([]byte(`{"key_packages":[`+text+`]}`), &body); errors.Is(err, errBadRequest) != refused || !refused && err != nil {
			t.Errorf("%.40s… of %d bytes: %v", text, len(text), err)
		}
		if refused && body.KeyPackages != nil {
			t.Errorf("%.40s…: it was read before it was refused", text)
		}
	}
}

// TestEmptyDevicesAreNotRead: two million of them would take a second.
func TestEmptyDevicesAreNotRead(t *testing.T) {
	var body struct {
		Devices []deviceJSON `json:"devices"`
	}
	for text, refused := range map[string]bool{
		`{}` + strings.Repeat(`,{}`, 99):                                                  false,
		`{}` + strings.Repeat(`,{}`, 200):                                                 true,
		`{}` + strings.Repeat(`,{"user":"a"}`, 2_000):                                     true,
		`{"user":"a","device":"b"}` + strings.Repeat(`,{"user":"a","device":"b"}`, 5_000): false,
	} {
		body.Devices = nil
		err := parseJSON([]byte(`{"devices":[`+text+`]}`), &body)
		if errors.Is(err, errBadRequest) != refused || refused != (body.Devices == nil) {
			t.Errorf("%.40s…: %d devices, %v", text, len(body.Devices), err)
		}
	}
}
