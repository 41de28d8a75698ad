// Package malformed makes KeyPackages and Welcomes that have one defect each. With
// every one comes what it is without the defect, and the code with which it is to
// be refused. They are made anew each time, and signed where the defect is not in
// a signature, so that nothing else is wrong with them.
//
// Only what can be seen without a clock and a store is here: what is expired or
// too large is for those to say who know the time and the limits.
package malformed

import (
	"encoding/binary"
	"fmt"
	"slices"

	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// A Row is an object with one defect.
type Row struct {
	Name   string // what is wrong
	Code   mls.Code
	Suite  mls.CipherSuite
	Broken []byte
	Sound  []byte   // the object without the defect
	For    [][]byte // of a Welcome: the bare KeyPackages that Sound is for
}

// KeyPackages returns rows of all suites.
func KeyPackages() []Row {
	signers := make(map[mls.CipherSuite]*mlstest.Signer)
	for _, suite := range mlstest.Suites {
		signers[suite] = mlstest.NewSigner(suite, "alice/phone")
	}
	// Where a length before it is read in two bytes, this key is read as a credential
	// of an unknown type. 0xc0 and above are no length, so it never is one.
	for signers[1].PublicKey()[1] < 0xc0 {
		signers[1] = mlstest.NewSigner(1, "alice/phone")
	}
	s := signers[1]
	rows := slices.Concat(framedKeyPackages(s), cutKeyPackages(s), build(s, lengths(s)), build(s, contents(s)), build(s, signatures(s)))
	for _, suite := range mlstest.Suites {
		s := signers[suite]
		bySuite := slices.Concat(keys(s), suiteSignatures(s))
		if curveOf(suite) != nil {
			bySuite = slices.Concat(bySuite, points(s), encodedSignatures(s))
		}
		for _, r := range build(s, bySuite) {
			r.Name = fmt.Sprintf("%s, suite %d", r.Name, suite)
			rows = append(rows, r)
		}
	}
	return rows
}

// A defect is a row before it is made.
type defect struct {
	name   string
	code   mls.Code
	option mlstest.Option
	base   []mlstest.Option // of both objects
}

// build makes a row of each defect.
func build(s *mlstest.Signer, defects []defect) []Row {
	rows := make([]Row, len(defects))
	for i, d := range defects {
		base := append(plain(s), d.base...)
		rows[i] = Row{
			Name: d.name, Code: d.code, Suite: s.Suite(),
			Sound:  s.KeyPackage(base...),
			Broken: s.KeyPackage(append(base, d.option)...),
		}
	}
	return rows
}

// plain makes a KeyPackage in which no vector is empty. It gives all that are made
// with it the same keys.
func plain(s *mlstest.Signer) []mlstest.Option {
	return []mlstest.Option{
		mlstest.WithInitKey(kemKey(s.Suite())),
		mlstest.WithEncryptionKey(kemKey(s.Suite())),
		mlstest.WithLeafExtension(0xf0aa, []byte("leaf")),
		mlstest.WithExtension(0xf0ab, []byte("whole")),
		mlstest.WithCapabilities(func(c *mls.Capabilities) { c.Proposals = []mls.ProposalType{0xf001} }),
	}
}

// kemKey returns a new public key. In suite 1, which the defects of framing and of
// lengths have, no byte of it is the first of a length, which 0xc0 and above never are.
// A reader that is a few bytes off takes bytes of the key for lengths; with a wholly
// random key, one in some thousands of such objects is a KeyPackage by chance.
func kemKey(suite mls.CipherSuite) []byte {
	key := mlstest.KEMKey(suite)
	if suite == 1 {
		for i := range key {
			key[i] |= 0xc0
		}
	}
	return key
}

// inField changes the encoding of one field.
func inField(name string, change func([]byte) []byte) mlstest.Option {
	return func(t *mlstest.Template) {
		t.ChangeField = func(field string, encoded []byte) []byte {
			if field == name {
				return change(slices.Clone(encoded))
			}
			return encoded
		}
	}
}

type field struct {
	name string
	size int
}

// fields returns the fields of a KeyPackage in their order.
func fields(s *mlstest.Signer, base ...mlstest.Option) (list []field) {
	s.KeyPackage(append(base, func(t *mlstest.Template) {
		t.ChangeField = func(name string, encoded []byte) []byte {
			list = append(list, field{name, len(encoded)})
			return encoded
		}
	})...)
	return list
}

// A lengthDefect is something that can be wrong with the length of a vector.
type lengthDefect struct {
	name   string
	change func(encoded []byte) []byte
}

var lengthDefects = []lengthDefect{
	{"length not in its shortest form", func(encoded []byte) []byte {
		content := contentOf(encoded)
		if len(content) < 1<<6 {
			return append([]byte{0x40, byte(len(content))}, content...)
		}
		return append(binary.BigEndian.AppendUint32(nil, 2<<30|uint32(len(content))), content...)
	}},
	{"length in eight bytes, as in QUIC", func(encoded []byte) []byte {
		content := contentOf(encoded)
		return append(binary.BigEndian.AppendUint64(nil, 3<<62|uint64(len(content))), content...)
	}},
	{"length more than the input holds", func(encoded []byte) []byte {
		return append([]byte{0xbf, 0xff, 0xff, 0xff}, contentOf(encoded)...)
	}},
}

// contentOf returns what is in a vector.
func contentOf(encoded []byte) []byte { return encoded[1<<(encoded[0]>>6):] }

func flipBit(b []byte) []byte {
	b = slices.Clone(b)
	b[len(b)-1] ^= 1
	return b
}

// to returns a change to b, whatever was there.
func to(b ...byte) func([]byte) []byte { return func([]byte) []byte { return b } }
