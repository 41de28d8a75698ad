package malformed

import (
	"encoding/base64"
	"encoding/hex"
	"slices"

	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// A framing is something that can be wrong around an object, given bare.
type framing struct {
	name  string
	code  mls.Code
	frame func(bare []byte) []byte
}

// wrap puts b into an MLSMessage of any version and format.
func wrap(version uint16, format mls.WireFormat, b []byte) []byte {
	wrapped := mls.Wrap(format, b)
	wrapped[0], wrapped[1] = byte(version>>8), byte(version)
	return wrapped
}

// framings are what can be wrong around an object of the format.
func framings(format mls.WireFormat) []framing {
	return []framing{
		{"nothing", mls.CodeMalformed, to()},
		{"one byte", mls.CodeMalformed, to(0)},
		{"only the header of an MLSMessage", mls.CodeMalformed, to(0, 1, 0, byte(format))},
		{"half the header of an MLSMessage", mls.CodeMalformed, to(0, 1)},
		{"in an MLSMessage twice", mls.CodeMalformed, func(b []byte) []byte { return wrap(1, format, wrap(1, format, b)) }},
		{"in wire format 0", mls.CodeMalformed, func(b []byte) []byte { return wrap(1, 0, b) }},
		{"in wire format 6, which there is not", mls.CodeMalformed, func(b []byte) []byte { return wrap(1, 6, b) }},
		{"in a wire format for private use", mls.CodeMalformed, func(b []byte) []byte { return wrap(1, 0xf001, b) }},
		{"header of the MLSMessage little-endian", mls.CodeMalformed, func(b []byte) []byte { return append([]byte{1, 0, byte(format), 0}, b...) }},
		{"a byte after it", mls.CodeMalformed, func(b []byte) []byte { return append(slices.Clone(b), 0) }},
		{"a line feed after it", mls.CodeMalformed, func(b []byte) []byte { return append(slices.Clone(b), '\n') }},
		{"a byte after it in an MLSMessage", mls.CodeMalformed, func(b []byte) []byte { return append(wrap(1, format, b), 0) }},
		{"a byte before it", mls.CodeMalformed, func(b []byte) []byte { return append([]byte{0xff}, b...) }},
		{"twice, one after the other", mls.CodeMalformed, func(b []byte) []byte { return slices.Concat(b, b) }},
		{"in a vector, with its length before it", mls.CodeMalformed, mlstest.Vector},
		{"in hexadecimal", mls.CodeMalformed, func(b []byte) []byte { return []byte(hex.EncodeToString(b)) }},
		{"in base64", mls.CodeMalformed, func(b []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(b)) }},
		{"in JSON", mls.CodeMalformed, func(b []byte) []byte { return []byte(`{"message":"` + base64.StdEncoding.EncodeToString(b) + `"}`) }},
		{"its bytes as UTF-8", mls.CodeMalformed, asUTF8},
		{"a PublicMessage instead", mls.CodeWrongMessageType, func([]byte) []byte { return mls.Wrap(mls.WireFormatPublicMessage, publicMessage()) }},
		{"a PrivateMessage instead", mls.CodeWrongMessageType, func([]byte) []byte { return mls.Wrap(mls.WireFormatPrivateMessage, privateMessage()) }},
		{"a GroupInfo instead", mls.CodeWrongMessageType, func([]byte) []byte { return mls.Wrap(mls.WireFormatGroupInfo, groupInfo()) }},
		{"a bare GroupInfo instead", mls.CodeWrongMessageType, func([]byte) []byte { return groupInfo() }},
	}
}

// asUTF8 is what comes out when bytes are taken for Latin-1 text.
func asUTF8(b []byte) []byte {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return []byte(string(runes))
}

// framedContent is FramedContent of RFC 9420 s6 with an application message, up to
// its sender, which every message of a group begins with.
func framedContent() []byte {
	return slices.Concat(mlstest.Vector([]byte("group 1")), make([]byte, 8)) // group_id, epoch
}

func publicMessage() []byte {
	return slices.Concat(framedContent(),
		[]byte{1, 0, 0, 0, 0}, // sender: member 0
		[]byte{0, 1},          // authenticated_data, content_type: application
		mlstest.Vector([]byte("hello")), mlstest.Vector(mlstest.Random(64)))
}

func privateMessage() []byte {
	return slices.Concat(framedContent(), []byte{1, 0}, // content_type, authenticated_data
		mlstest.Vector(mlstest.Random(28)), mlstest.Vector(mlstest.Random(100)))
}

func groupInfo() []byte {
	return slices.Concat([]byte{0, 1, 0, 1}, framedContent(), // version, cipher_suite
		mlstest.Vector(mlstest.Random(32)), mlstest.Vector(mlstest.Random(32)), []byte{0}, // tree_hash, confirmed_transcript_hash, extensions
		[]byte{0}, mlstest.Vector(mlstest.Random(32)), make([]byte, 4), mlstest.Vector(mlstest.Random(64))) // extensions, confirmation_tag, signer, signature
}

func framedKeyPackages(s *mlstest.Signer) (rows []Row) {
	add := func(name string, code mls.Code, frame func(bare []byte) []byte) {
		sound := s.KeyPackage(plain(s)...)
		rows = append(rows, Row{Name: "KeyPackage: " + name, Code: code, Suite: s.Suite(), Sound: sound, Broken: frame(sound)})
	}
	const format = mls.WireFormatKeyPackage
	for _, f := range framings(format) {
		add(f.name, f.code, f.frame)
	}
	version2 := func([]byte) []byte {
		return s.KeyPackage(append(plain(s), func(t *mlstest.Template) { t.Version = 2 })...)
	}
	add("in an MLSMessage of version 2", mls.CodeMalformed, func(b []byte) []byte { return wrap(2, format, b) })
	add("of version 2 in an MLSMessage of mls10", mls.CodeMalformed, func(b []byte) []byte { return wrap(1, format, version2(b)) })
	add("of version 2 in an MLSMessage of version 2", mls.CodeUnsupportedVersion, func(b []byte) []byte { return wrap(2, format, version2(b)) })
	add("called a Welcome by its MLSMessage", mls.CodeWrongMessageType, func(b []byte) []byte { return wrap(1, mls.WireFormatWelcome, b) })
	add("called a GroupInfo by its MLSMessage", mls.CodeWrongMessageType, func(b []byte) []byte { return wrap(1, mls.WireFormatGroupInfo, b) })
	add("a Welcome instead", mls.CodeWrongMessageType, func(b []byte) []byte { return mlstest.WelcomeFor(b) })
	add("a Welcome in an MLSMessage instead", mls.CodeWrongMessageType, func(b []byte) []byte { return mls.Wrap(mls.WireFormatWelcome, mlstest.WelcomeFor(b)) })
	add("only its leaf_node", mls.CodeMalformed, func(b []byte) []byte { return leafOf(s, b) })
	add("a ratchet tree instead", mls.CodeMalformed, func(b []byte) []byte { return mlstest.Vector(append([]byte{1, 1}, leafOf(s, b)...)) })
	return rows
}

// leafOf returns the bytes of the leaf of a KeyPackage that is plain.
func leafOf(s *mlstest.Signer, keyPackage []byte) []byte {
	all := fields(s, plain(s)...)
	last := all[len(all)-2].size + all[len(all)-1].size // extensions, signature
	return keyPackage[4+all[2].size : len(keyPackage)-last]
}

// cutKeyPackages end before and inside each field.
func cutKeyPackages(s *mlstest.Signer) (rows []Row) {
	add := func(name string, at int) {
		sound := s.KeyPackage(plain(s)...)
		rows = append(rows, Row{Name: "KeyPackage ends " + name, Code: mls.CodeMalformed, Suite: s.Suite(), Sound: sound, Broken: sound[:at]})
	}
	at := 0
	for _, f := range fields(s, plain(s)...) {
		if at > 0 {
			add("before "+f.name, at)
		}
		if f.size > 1 {
			add("inside "+f.name, at+f.size/2)
		}
		at += f.size
	}
	return rows
}
