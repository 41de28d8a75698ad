package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"welcomed/delivery"
	"welcomed/mls"
)

// parseJSON reads one value, an object or null, into the struct that v points to. It refuses
// members that v does not have, so that a client learns of a misspelt name. It refuses members
// that stand twice or in another case, of which package json would take the last.
//
// parseJSON takes an object apart itself, and gives only the members to package json, which
// looks at every byte three times. Base64 it decodes itself, in place: body is changed, and the
// blobs are parts of it. A Welcome of a megabyte is nearly all base64.
func parseJSON(body []byte, v any) error {
	object := scanner{rest: body}
	if !object.take('{') || !wholeObject(object) {
		return decodeJSON(body, v) // which says what is wrong
	}
	target, fields := reflect.ValueOf(v).Elem(), fieldsOf(v)
	seen := make([]bool, len(fields))
	for !object.end('}') {
		name, value := object.member()
		i, known := fields[name]
		switch {
		case !known:
			return fmt.Errorf("%w: JSON: unknown field %q", errBadRequest, name)
		case seen[i]:
			return fmt.Errorf("%w: JSON: %q stands twice", errBadRequest, name)
		}
		seen[i] = true
		if err := decodeMember(value, target.Field(i).Addr().Interface()); err != nil {
			return fmt.Errorf("%w: %s", errBadRequest, jsonError(err, name))
		}
	}
	if !object.empty() {
		return errJSONFollows
	}
	return nil
}

// wholeObject reports whether the object can be taken apart to its end.
func wholeObject(object scanner) bool {
	for !object.end('}') {
		object.member()
	}
	return !object.broken
}

// parsedMemory returns roughly how much memory JSON takes, beside the body, when it is read:
// its text in values, the parsed values, and for each element of a list a place in a map. Blobs
// take less.
func parsedMemory(body []byte) int {
	const perElement = 128
	return 3*len(body) + perElement*bytes.Count(body, []byte{','})
}

var errJSONFollows = fmt.Errorf("%w: JSON: something follows the value", errBadRequest)

// decodeMember reads the value of a member into field.
func decodeMember(value []byte, field any) error {
	switch field := field.(type) {
	case *[]blob:
		return decodeBlobs(value, field)
	case **blob:
		if string(value) == "null" {
			return nil
		}
		*field = new(blob)
		return decodeBlob(value, *field)
	case *[]deviceJSON:
		return decodeDevices(value, field)
	case *[]string, *[]delivery.UserID, *[]mls.CipherSuite:
		if !fewElements(value, mostElements) {
			return fmt.Errorf("more than %d elements", mostElements)
		}
		return json.Unmarshal(value, field)
	case **string, *string, **int:
		return json.Unmarshal(value, field) // no members in it that could be unknown
	}
	return decodeStrict(value, field)
}

// shortestDevice is the length of the shortest device in JSON, with the comma behind it.
const shortestDevice = len(`{"user":"a","device":"b"},`)

// shortestObject is less than the length of any KeyPackage or Welcome in base64.
const shortestObject = 256

// mostElements is more than any accepted list of refs, ids, users or cipher suites has.
const mostElements = 100_000

// fewElements reports whether value, if it is an array, has at most most elements. Tiny
// elements take many times their size in memory, and a body full of them takes a second to
// read.
func fewElements(value []byte, most int) bool {
	n, _ := countElements(value, most+1)
	return n <= most
}

// countElements returns how many elements value has, if it is an array, but does not count
// further than most. It also reports whether the array can be taken apart that far.
func countElements(value []byte, most int) (n int, whole bool) {
	array := scanner{rest: value}
	if !array.take('[') {
		return 0, true
	}
	for n < most && !array.end(']') {
		array.element()
		n++
	}
	return n, !array.broken
}

// decodeDevices reads an array of devices. It refuses one with more elements than its length
// allows.
func decodeDevices(value []byte, list *[]deviceJSON) error {
	if !fewElements(value, 100+len(value)/shortestDevice) {
		return errors.New("most of its elements are no devices")
	}
	return decodeStrict(value, list)
}

// decodeBlobs reads an array of base64.
func decodeBlobs(value []byte, list *[]blob) error {
	array := scanner{rest: value}
	if !array.take('[') {
		return decodeStrict(value, list)
	}
	most := 100 + len(value)/shortestObject
	n, whole := countElements(value, most+1)
	switch {
	case n > most:
		return errors.New("most of its elements are no MLS objects")
	case !whole:
		return decodeStrict(value, list) // which says what is wrong
	}
	*list = make([]blob, 0, n)
	for !array.end(']') {
		item := array.element()
		index := len(*list)
		*list = append(*list, nil)
		if err := decodeBlob(item, &(*list)[index]); err != nil {
			return &elementError{index, err}
		}
	}
	return nil
}

// An elementError says what is wrong with one element of an array.
type elementError struct {
	index int // from 0
	err   error
}

func (e *elementError) Error() string { return fmt.Sprintf("[%d]: %v", e.index, e.err) }
func (e *elementError) Unwrap() error { return e.err }

// decodeBlob decodes base64 in place.
func decodeBlob(value []byte, b *blob) (err error) {
	if value[0] != '"' {
		return decodeStrict(value, b)
	}
	text, err := unescape(value[1 : len(value)-1])
	if err != nil {
		return err
	}
	*b, err = decodeBase64(text)
	return err
}

// unescape replaces the escapes of a string in place. It knows only those that base64 can have:
// of the slash, of ASCII characters by number, and of line breaks, for which the base64 is
// refused.
func unescape(text []byte) ([]byte, error) {
	if bytes.IndexByte(text, '\\') < 0 {
		return text, nil
	}
	n := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\\' {
			rest := text[i+1:]
			switch {
			case len(rest) > 0 && rest[0] == '/':
				c, i = '/', i+1
			case len(rest) > 0 && (rest[0] == 'n' || rest[0] == 'r'):
				c, i = '\n', i+1
			case len(rest) > 4 && rest[0] == 'u':
				number, err := strconv.ParseUint(string(rest[1:5]), 16, 7)
				if err != nil {
					return nil, &base64Error{fmt.Sprintf("byte %d of %d cannot stand there", i, len(text))}
				}
				c, i = byte(number), i+5
			default:
				return nil, &base64Error{fmt.Sprintf("byte %d of %d cannot stand there", i, len(text))}
			}
		}
		text[n] = c
		n++
	}
	return text[:n], nil
}

// decodeJSON reads one value with package json.
func decodeJSON(body []byte, v any) error {
	err := decodeStrict(body, v)
	if err == nil || errors.Is(err, errJSONFollows) {
		return err
	}
	return fmt.Errorf("%w: %s", errBadRequest, jsonError(err, ""))
}

// decodeStrict reads one value. It refuses members that v does not have.
func decodeStrict(value []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(value))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errJSONFollows
	}
	return nil
}

// fieldsOf returns the index of each field of the struct that v points to, by the field's name
// in JSON.
func fieldsOf(v any) map[string]int {
	t := reflect.TypeOf(v).Elem()
	if known, ok := fieldsByType.Load(t); ok {
		return known.(map[string]int)
	}
	fields := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		fields[name] = i
	}
	fieldsByType.Store(t, fields)
	return fields
}

// fieldsByType has a map[string]int for each reflect.Type of a body.
var fieldsByType sync.Map

// jsonError returns what is wrong, in words without Go. member says where; it may be empty.
func jsonError(err error, member string) string {
	if element, ok := errors.AsType[*elementError](err); ok {
		member = fmt.Sprintf("%s[%d]", member, element.index)
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("JSON: %s cannot be %s", pathOf(member, wrong.Field), withArticle(wrong.Value))
	}
	if wrong, ok := errors.AsType[*base64Error](err); ok {
		return fmt.Sprintf("JSON: %s is no base64: %s", pathOf(member, ""), wrong.why)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return "JSON: ends early"
	}
	return "JSON: " + strings.TrimPrefix(err.Error(), "json: ")
}

// pathOf names a member, a field inside of it, or the whole body.
func pathOf(member, field string) string {
	if path := strings.Trim(member+"."+field, "."); path != "" {
		return strconv.Quote(path)
	}
	return "the body"
}

// withArticle returns the kind of a JSON value with its article. Package json writes the value
// of a number behind its kind.
func withArticle(kind string) string {
	if strings.HasPrefix(kind, "a") || strings.HasPrefix(kind, "o") {
		return "an " + kind // array, object
	}
	return "a " + kind
}

// A scanner finds where the parts of an object or an array begin and end. It does not check
// that a part is JSON, but it never cuts a JSON value in two.
type scanner struct {
	rest   []byte
	inside bool // a part has been read, so a comma comes before the next
	broken bool
}

func (s *scanner) skipSpace() { s.rest = bytes.TrimLeft(s.rest, " \t\r\n") }

// take consumes c, if it is next.
func (s *scanner) take(c byte) bool {
	s.skipSpace()
	if len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// end consumes closing, if it is next. It also returns true when the input is broken.
func (s *scanner) end(closing byte) bool { return s.broken || s.take(closing) }

// empty reports whether only spaces are left.
func (s *scanner) empty() bool {
	s.skipSpace()
	return len(s.rest) == 0
}

// member reads the next member of an object.
func (s *scanner) member() (name string, value []byte) {
	quoted := s.element()
	if s.broken || quoted[0] != '"' || !s.take(':') {
		s.broken = true
		return "", nil
	}
	name = string(quoted[1 : len(quoted)-1])
	if strings.Contains(name, `\`) {
		s.broken = json.Unmarshal(quoted, &name) != nil
	}
	return name, s.value()
}

// element reads the next element of an array.
func (s *scanner) element() []byte {
	if s.inside && !s.take(',') {
		s.broken = true
	}
	s.inside = true
	return s.value()
}

// value reads the next value.
func (s *scanner) value() []byte {
	s.skipSpace()
	n := valueLength(s.rest)
	if n <= 0 || s.broken {
		s.broken = true
		return nil
	}
	value := s.rest[:n]
	s.rest = s.rest[n:]
	return value
}

// valueLength returns the length of the value at the beginning of b; 0 or less if there is
// none.
func valueLength(b []byte) int {
	switch {
	case len(b) == 0:
		return 0
	case b[0] == '"':
		return stringLength(b)
	case b[0] == '{', b[0] == '[':
		return nestedLength(b)
	}
	if n := bytes.IndexAny(b, ",:]} \t\r\n"); n >= 0 {
		return n
	}
	return len(b)
}

// stringLength returns the length of the string at the beginning of b. It ends with the first
// quote that has an even number of backslashes in front.
func stringLength(b []byte) int {
	for i := 1; ; i++ {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return -1
		}
		i += n
		if escapes := b[1:i]; (len(escapes)-len(bytes.TrimRight(escapes, `\`)))%2 == 0 {
			return i + 1
		}
	}
}

// nestedLength returns the length of the object or array at the beginning of b.
func nestedLength(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			n := stringLength(b[i:])
			if n < 0 {
				return -1
			}
			i += n - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// A blob is bytes in base64: standard or URL-safe, padded or not.
type blob []byte

// The four ways to write base64. Each refuses text whose unused bits are not zero.
var (
	standard      = base64.StdEncoding.Strict()
	standardNoPad = base64.RawStdEncoding.Strict()
	urlSafe       = base64.URLEncoding.Strict()
	urlSafeNoPad  = base64.RawURLEncoding.Strict()
)

// A base64Error says why a text is no base64.
type base64Error struct{ why string }

func (e *base64Error) Error() string { return e.why }

// hexHint is for clients that send hexadecimal. Half of all hexadecimal texts can be read as
// base64.
const hexHint = "; it looks like hexadecimal, and has to be base64"

// looksLikeHex reports whether a text is hexadecimal, and too long to be that by chance. Base64
// of zeros is all capital As, and not taken for hexadecimal.
func looksLikeHex(text []byte) bool {
	return len(text) >= 32 && len(bytes.Trim(text, "0123456789abcdef")) == 0
}

// readAsHex reports whether b is what one gets if hexadecimal is decoded as base64.
func readAsHex(b []byte) bool {
	return looksLikeHex([]byte(standardNoPad.EncodeToString(b[:min(len(b), 48)])))
}

// looksLikeBase64 reports whether bytes that are no MLS object are the base64 of one.
func looksLikeBase64(b []byte) bool {
	var read blob
	return len(b) >= 32 && read.UnmarshalText(bytes.TrimSpace(b)) == nil
}

// UnmarshalText is for package json, which only reads values that are wrong, to say what is
// wrong.
func (b *blob) UnmarshalText(text []byte) (err error) {
	*b, err = decodeBase64(bytes.Clone(text))
	return err
}

// decodedAtATime is how much base64 is decoded into a buffer before it is copied to its place.
const decodedAtATime = 4 << 10

// decodeBase64 decodes text in place. It refuses white space, which package base64 would skip.
func decodeBase64(text []byte) (blob, error) {
	has := func(c byte) bool { return bytes.IndexByte(text, c) >= 0 }
	if has('\r') || has('\n') {
		return nil, &base64Error{"there is a line break in it"}
	}
	padded, unpadded := standard, standardNoPad
	if has('-') || has('_') {
		padded, unpadded = urlSafe, urlSafeNoPad
	}
	alphabet := unpadded
	if bytes.HasSuffix(text, []byte("=")) {
		alphabet = padded
	}
	hex := looksLikeHex(text)
	var decoded [decodedAtATime / 4 * 3]byte
	n := 0
	for at := 0; at < len(text); at += decodedAtATime {
		part := text[at:min(at+decodedAtATime, len(text))]
		m, err := alphabet.Decode(decoded[:], part)
		if err == nil && m < len(decoded) && at+len(part) < len(text) {
			err = base64.CorruptInputError(len(part) - 1) // padding before the end
		}
		if err != nil {
			return nil, newBase64Error(err, at, len(text), hex)
		}
		n += copy(text[n:], decoded[:m])
	}
	return text[:n:n], nil
}

// newBase64Error says where package base64 has found a fault in a text of length characters.
// Package base64 has looked at a part that begins at start.
func newBase64Error(err error, start, length int, hex bool) error {
	wrong := &base64Error{err.Error()}
	if at, ok := errors.AsType[base64.CorruptInputError](err); ok {
		wrong.why = fmt.Sprintf("byte %d of %d cannot stand there", start+int(at), length)
	}
	if hex {
		wrong.why += hexHint
	}
	return wrong
}
