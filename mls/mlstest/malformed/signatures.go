package malformed

import (
	"bytes"
	"crypto"
	"encoding/asn1"
	"math/big"
	"slices"

	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// A signedPart is one of the two signatures of a KeyPackage.
type signedPart struct {
	name, label, otherLabel string
	code                    mls.Code
	change                  func(*mlstest.Template, func([]byte) []byte)
}

var signedParts = []signedPart{
	{"leaf_node.signature", "LeafNodeTBS", "KeyPackageTBS", mls.CodeBadLeafSignature,
		func(t *mlstest.Template, by func([]byte) []byte) { t.ChangeLeafSignature = by }},
	{"signature", "KeyPackageTBS", "LeafNodeTBS", mls.CodeBadSignature,
		func(t *mlstest.Template, by func([]byte) []byte) { t.ChangeSignature = by }},
}

// changed is the good signature, changed.
func (p signedPart) changed(what string, by func([]byte) []byte) defect {
	return defect{p.name + " " + what, p.code, func(t *mlstest.Template) { p.change(t, by) }, nil}
}

// signed is what sign makes in place of this signature; the other one is s's.
func (p signedPart) signed(what string, s *mlstest.Signer, sign func(content []byte) []byte) defect {
	return defect{p.name + " " + what, p.code, func(t *mlstest.Template) {
		t.Sign = func(label string, content []byte) []byte {
			if label == p.label {
				return sign(slices.Clone(content))
			}
			return s.SignWithLabel(label, content)
		}
	}, nil}
}

// signContent is SignContent of RFC 9420 s5.1.2.
func signContent(label string, content []byte) []byte {
	return slices.Concat(mlstest.Vector([]byte(label)), mlstest.Vector(content))
}

// signatures are what can be wrong with a signature whatever the scheme.
func signatures(s *mlstest.Signer) (defects []defect) {
	mallory := mlstest.NewSigner(s.Suite(), s.Identity())
	for _, p := range signedParts {
		defects = append(defects,
			p.signed("with the label of the other", s, func(b []byte) []byte { return s.SignWithLabel(p.otherLabel, b) }),
			p.signed("with an empty label", s, func(b []byte) []byte { return s.SignWithLabel("", b) }),
			p.signed("with the label twice", s, func(b []byte) []byte { return s.SignWithLabel("MLS 1.0 "+p.label, b) }),
			p.signed("with the label of a draft", s, func(b []byte) []byte { return s.Sign(signContent("MLS10 "+p.label, b)) }),
			p.signed("without MLS 1.0 in the label", s, func(b []byte) []byte { return s.Sign(signContent(p.label, b)) }),
			p.signed("without a label", s, s.Sign),
			p.signed("over the content without its length", s, func(b []byte) []byte {
				return s.Sign(slices.Concat(mlstest.Vector([]byte("MLS 1.0 "+p.label)), b))
			}),
			p.signed("over a byte less", s, func(b []byte) []byte { return s.SignWithLabel(p.label, b[:len(b)-1]) }),
			p.signed("over a byte more", s, func(b []byte) []byte { return s.SignWithLabel(p.label, append(b, 0)) }),
			p.signed("over nothing", s, func([]byte) []byte { return s.SignWithLabel(p.label, nil) }),
			p.signed("over the content with a group, as of an update", s, func(b []byte) []byte {
				return s.SignWithLabel(p.label, slices.Concat(b, mlstest.Vector([]byte("group 1")), make([]byte, 4)))
			}))
	}
	another := func(t *mlstest.Template) {
		t.Sign = func(label string, content []byte) []byte {
			other := slices.Clone(content)
			other[len(other)/2] ^= 1
			return s.SignWithLabel(label, other)
		}
	}
	return append(defects,
		defect{"both signatures by somebody with the same identity", mls.CodeBadLeafSignature, func(t *mlstest.Template) { t.Sign = mallory.SignWithLabel }, nil},
		defect{"both signatures over another KeyPackage", mls.CodeBadLeafSignature, another, nil},
		defect{"both signatures in the place of the other", mls.CodeBadLeafSignature, func(t *mlstest.Template) {
			t.Sign = func(label string, content []byte) []byte {
				return s.SignWithLabel(map[string]string{"LeafNodeTBS": "KeyPackageTBS", "KeyPackageTBS": "LeafNodeTBS"}[label], content)
			}
		}, nil},
		signedParts[0].afterwards(s, "leaf_node.extensions", "leaf", "tree"),
		signedParts[1].afterwards(s, "extensions", "whole", "other"))
}

// afterwards is a change of a field, of the same size, that this signature does not
// cover.
func (p signedPart) afterwards(s *mlstest.Signer, field, was, is string) defect {
	change := inField(field, func(encoded []byte) []byte { return bytes.Replace(encoded, []byte(was), []byte(is), 1) })
	return defect{field + " changed after they were signed", p.code, func(t *mlstest.Template) {
		change(t)
		t.Sign = func(label string, content []byte) []byte {
			if label == p.label {
				content = bytes.Replace(content, []byte(is), []byte(was), 1)
			}
			return s.SignWithLabel(label, content)
		}
	}, nil}
}

// suiteSignatures are what can be wrong with a signature of any scheme, tried on
// each.
func suiteSignatures(s *mlstest.Signer) (defects []defect) {
	mallory := mlstest.NewSigner(s.Suite(), s.Identity())
	for _, p := range signedParts {
		defects = append(defects,
			p.changed("empty", to()),
			p.changed("with a wrong bit", flipBit),
			p.changed("with a byte after it", func(b []byte) []byte { return append(b, 0) }),
			p.changed("a byte short", func(b []byte) []byte { return b[:len(b)-1] }),
			p.changed("all zeros", func(b []byte) []byte { return make([]byte, len(b)) }),
			p.signed("by somebody else", s, func(b []byte) []byte { return mallory.SignWithLabel(p.label, b) }))
		if s.Suite() == 1 || s.Suite() == 3 {
			defects = append(defects,
				p.changed("with S past the order", pastOrder),
				p.signed("of Ed25519ph", s, func(b []byte) []byte { return s.SignHash(crypto.SHA512, signContent("MLS 1.0 "+p.label, b)) }))
		}
	}
	return defects
}

// pastOrder adds the order of the group of Ed25519 to S, which half of all
// implementations once took.
func pastOrder(signature []byte) []byte {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	b := slices.Clone(signature)
	s := slices.Clone(b[32:])
	slices.Reverse(s)
	sum := new(big.Int).SetBytes(s)
	sum.Add(sum, order).FillBytes(s)
	slices.Reverse(s)
	copy(b[32:], s)
	return b
}

// encodedSignatures are what can be wrong with the encoding of an ECDSA signature.
//
//	ECDSA-Sig-Value ::= SEQUENCE { r INTEGER, s INTEGER }
func encodedSignatures(s *mlstest.Signer) []defect {
	curve := curveOf(s.Suite())
	order := curve.Params().N
	p := signedParts[1]
	numbers := func(by func(r, s *big.Int)) func([]byte) []byte {
		return func(b []byte) []byte {
			v := readNumbers(b)
			by(v.R, v.S)
			return marshal(v)
		}
	}
	wrongHash := map[mls.CipherSuite]crypto.Hash{2: crypto.SHA512, 5: crypto.SHA256, 7: crypto.SHA256}[s.Suite()]
	return []defect{
		p.changed("r||s in place of DER", func(b []byte) []byte { return rawNumbers(curve.Params().BitSize, readNumbers(b)) }),
		p.changed("with r 0", numbers(func(r, _ *big.Int) { r.SetInt64(0) })),
		p.changed("with s 0", numbers(func(_, s *big.Int) { s.SetInt64(0) })),
		p.changed("with r past the order", numbers(func(r, _ *big.Int) { r.Add(r, order) })),
		p.changed("with s past the order", numbers(func(_, s *big.Int) { s.Add(s, order) })),
		p.changed("with s below zero", numbers(func(_, s *big.Int) { s.Sub(s, order) })),
		p.changed("with r and s swapped", func(b []byte) []byte { v := readNumbers(b); return marshal(numbersOf{v.S, v.R}) }),
		p.changed("with a length in a form too long", longLength),
		p.changed("with an indefinite length", func(b []byte) []byte { return slices.Concat([]byte{0x30, 0x80}, contentOfDER(b), []byte{0, 0}) }),
		p.changed("with a zero before r", func(b []byte) []byte { return inSequence(zeroBefore(readNumbers(b).R), marshal(readNumbers(b).S)) }),
		p.changed("with a third number", func(b []byte) []byte { return inSequence(contentOfDER(b), []byte{2, 1, 0}) }),
		p.changed("without s", func(b []byte) []byte { return inSequence(marshal(readNumbers(b).R)) }),
		p.changed("in a SET", func(b []byte) []byte { b = slices.Clone(b); b[0] = 0x31; return b }),
		p.changed("in a BIT STRING", func(b []byte) []byte { return marshal(asn1.BitString{Bytes: b, BitLength: 8 * len(b)}) }),
		p.signed("with the hash of another suite", s, func(b []byte) []byte { return s.SignHash(wrongHash, signContent("MLS 1.0 "+p.label, b)) }),
	}
}

type numbersOf struct{ R, S *big.Int }

func readNumbers(b []byte) (v numbersOf) {
	if _, err := asn1.Unmarshal(b, &v); err != nil {
		panic("malformed: " + err.Error())
	}
	return v
}

func marshal(v any) []byte {
	b, err := asn1.Marshal(v)
	if err != nil {
		panic("malformed: " + err.Error())
	}
	return b
}

func rawNumbers(bits int, v numbersOf) []byte {
	size := (bits + 7) / 8
	b := make([]byte, 2*size)
	v.R.FillBytes(b[:size])
	v.S.FillBytes(b[size:])
	return b
}

// contentOfDER returns what is in the SEQUENCE.
func contentOfDER(b []byte) []byte {
	var sequence asn1.RawValue
	if _, err := asn1.Unmarshal(b, &sequence); err != nil {
		panic("malformed: " + err.Error())
	}
	return sequence.Bytes
}

// inSequence puts parts into a SEQUENCE.
func inSequence(parts ...[]byte) []byte {
	return marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: slices.Concat(parts...)})
}

// longLength writes the length in one byte more than it needs.
func longLength(b []byte) []byte {
	content := contentOfDER(b)
	if len(content) < 0x80 {
		return slices.Concat([]byte{0x30, 0x81, byte(len(content))}, content)
	}
	return slices.Concat([]byte{0x30, 0x82, 0, byte(len(content))}, content)
}

// zeroBefore is an INTEGER with a zero more than it needs.
func zeroBefore(n *big.Int) []byte {
	der := marshal(n)
	return slices.Concat([]byte{2, der[1] + 1, 0}, der[2:])
}
