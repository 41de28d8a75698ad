package mls

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// A WireFormat says what is inside an MLSMessage (RFC 9420 s17.2).
type WireFormat uint16

// The wire formats of RFC 9420 s17.2.
const (
	WireFormatPublicMessage  WireFormat = 1
	WireFormatPrivateMessage WireFormat = 2
	WireFormatWelcome        WireFormat = 3
	WireFormatGroupInfo      WireFormat = 4
	WireFormatKeyPackage     WireFormat = 5
)

var wireFormats = [...]string{
	WireFormatPublicMessage:  "mls_public_message",
	WireFormatPrivateMessage: "mls_private_message",
	WireFormatWelcome:        "mls_welcome",
	WireFormatGroupInfo:      "mls_group_info",
	WireFormatKeyPackage:     "mls_key_package",
}

func (f WireFormat) known() bool { return f != 0 && int(f) < len(wireFormats) }

// String returns the RFC's name of the format ("mls_welcome"), or the number in
// hexadecimal.
func (f WireFormat) String() string {
	if !f.known() {
		return fmt.Sprintf("0x%04x", uint16(f))
	}
	return wireFormats[f]
}

// Wrap puts a bare object into an MLSMessage of version mls10, which costs four
// bytes.
//
//	struct {
//	    ProtocolVersion version = mls10;
//	    WireFormat wire_format;
//	    select (MLSMessage.wire_format) { ... };
//	} MLSMessage;
func Wrap(f WireFormat, bare []byte) []byte {
	b := make([]byte, 0, 4+len(bare))
	b = append(b, byte(MLS10>>8), byte(MLS10), byte(f>>8), byte(f))
	return append(b, bare...)
}

// ReadKeyPackage reads a KeyPackage that is bare or in an MLSMessage. Which of
// the two is decided by parsing all of b, because a bare KeyPackage of suite 5
// begins like a wrapped one. The errors are ErrMalformed, CodeWrongMessageType
// where b is some other MLS object, and CodeUnsupportedVersion where b is in an
// MLSMessage of another version than mls10.
func ReadKeyPackage(b []byte) (*KeyPackage, error) { return keyPackageObject.read(b) }

// ReadWelcome reads a Welcome that is bare or in an MLSMessage, in the way and
// with the errors of ReadKeyPackage.
func ReadWelcome(b []byte) (*Welcome, error) { return welcomeObject.read(b) }

// An object is a kind of struct that comes bare or in an MLSMessage.
type object[T any] struct {
	name   string
	format WireFormat
	parse  func([]byte) (T, error)
	// version returns the struct's own version, which must be the MLSMessage's
	// (RFC 9420 s10); nil: it has none.
	version func(T) ProtocolVersion
	// other says what else a bare input is; "" if it does not know.
	other func([]byte) string
}

var keyPackageObject = object[*KeyPackage]{
	name:    "KeyPackage",
	format:  WireFormatKeyPackage,
	parse:   ParseKeyPackage,
	version: func(kp *KeyPackage) ProtocolVersion { return kp.Version },
	other: func(b []byte) string {
		if _, err := ParseWelcome(b); err != nil {
			return ""
		}
		return "a Welcome"
	},
}

var welcomeObject = object[*Welcome]{
	name:   "Welcome",
	format: WireFormatWelcome,
	parse:  ParseWelcome,
	other: func(b []byte) string {
		if _, err := ParseKeyPackage(b); err != nil {
			return ""
		}
		return "a KeyPackage"
	},
}

// read tries the MLSMessage first, and that decides the inputs that can be read
// both ways. They are not rare: of the wrapped KeyPackages of suite 1, one in a few
// thousand is by chance also the encoding of a bare one of suite 5. But the fifth
// byte of that is the first of the inner version, 0, so the bare one's init_key
// is empty, and nothing that Verify accepts is lost. No Welcome can be read both
// ways: bare, it would have to end after seven bytes, of which wrapped ones have
// at least eight.
func (o object[T]) read(b []byte) (none T, err error) {
	wrapped, wrappedErr := o.unwrap(b)
	if wrappedErr == nil {
		return wrapped, nil
	}
	bare, bareErr := o.parse(b)
	if bareErr == nil {
		return bare, nil
	}
	return none, o.explain(b, bareErr, wrappedErr)
}

// errNotWrapped is for read alone, and what is bare is read all the time.
var errNotWrapped error = refuse(CodeMalformed, "read MLSMessage: something else is in it")

// unwrap reads an MLSMessage with o in it.
func (o object[T]) unwrap(b []byte) (none T, err error) {
	version, format, body, ok := readHeader(b)
	if !ok || format != o.format {
		return none, errNotWrapped
	}
	v, err := o.parse(body)
	if err != nil {
		return none, err
	}
	if o.version != nil && o.version(v) != version {
		return none, refuse(CodeMalformed, "read %s: its version is %s, that of the MLSMessage %s", o.name, o.version(v), version)
	}
	if version != MLS10 {
		return none, refuse(CodeUnsupportedVersion, "read %s: MLSMessage has protocol version %s, not mls10", o.name, version)
	}
	return v, nil
}

// explain chooses the error for an input that is not o in either framing.
func (o object[T]) explain(b []byte, bareErr, wrappedErr error) error {
	version, format, body, ok := readHeader(b)
	if ok && beginsLike(format, body) {
		if format == o.format {
			return wrappedErr
		}
		if version == MLS10 {
			return o.wrongType("an " + format.String())
		}
	}
	if other := o.other(b); other != "" {
		return o.wrongType(other)
	}
	return bareErr
}

// beginsLike reports whether body begins like what is in an MLSMessage of this
// format. It tells a damaged bare KeyPackage, whose first four bytes are an
// MLSMessage's too, from an MLSMessage: its fifth byte is the length of init_key.
func beginsLike(f WireFormat, body []byte) bool {
	d := decoder{rest: body}
	switch f {
	case WireFormatPublicMessage, WireFormatPrivateMessage:
		d.vector("group_id")
		return d.uint64("epoch") < 1<<56 && d.err == nil
	case WireFormatWelcome:
		c := CipherSuite(d.uint16("cipher_suite"))
		return d.err == nil && (c < 1<<8 || c >= 0xf000)
	case WireFormatGroupInfo, WireFormatKeyPackage:
		return d.uint16("version") < 1<<8 && d.err == nil
	}
	return false
}

func (o object[T]) wrongType(is string) error {
	return refuse(CodeWrongMessageType, "this is %s, not a %s", is, o.name)
}

func readHeader(b []byte) (version ProtocolVersion, format WireFormat, body []byte, ok bool) {
	s := cryptobyte.String(b)
	ok = s.ReadUint16((*uint16)(&version)) && s.ReadUint16((*uint16)(&format))
	return version, format, s, ok
}
