package mls

import (
	"bytes"
	"encoding/hex"
	"testing"

	"golang.org/x/crypto/cryptobyte"
)

func TestVarint(t *testing.T) {
	for _, test := range []struct {
		name, header string
		want         uint32
		valid        bool
	}{
		{"zero", "00", 0, true},
		{"the longest in 1 byte", "3f", 63, true},
		{"the shortest in 2 bytes", "4040", 64, true},
		{"the longest in 2 bytes", "7fff", 16383, true},
		{"the shortest in 4 bytes", "80004000", 16384, true},
		{"the longest in 4 bytes", "bfffffff", 1<<30 - 1, true},
		{"nothing", "", 0, false},
		{"1 of 2 bytes", "40", 0, false},
		{"1 of 4 bytes", "80", 0, false},
		{"3 of 4 bytes", "800040", 0, false},
		{"zero in 2 bytes", "4000", 0, false},
		{"63 in 2 bytes", "403f", 0, false},
		{"63 in 4 bytes", "8000003f", 0, false},
		{"16383 in 4 bytes", "80003fff", 0, false},
		{"QUIC's 8 bytes", "c000000040000000", 0, false},
		{"all ones", "ff", 0, false},
	} {
		input, _ := hex.DecodeString(test.header)
		s := cryptobyte.String(input)
		n, problem := readVarint(&s)
		if (problem == "") != test.valid || test.valid && n != test.want {
			t.Errorf("%s: %d %q, want %d, valid %v", test.name, n, problem, test.want, test.valid)
		}
		if test.valid && !bytes.Equal(appendVarint(nil, int(n)), input) {
			t.Errorf("%s: encoded again as %x", test.name, appendVarint(nil, int(n)))
		}
	}
}

func TestVectorsDeserialization(t *testing.T) {
	var vectors []struct {
		Header string `json:"vlbytes_header"`
		Length uint32 `json:"length"`
	}
	ReadVectors(t, "deserialization.json", &vectors)
	for _, v := range vectors {
		input, _ := hex.DecodeString(v.Header)
		s := cryptobyte.String(input)
		n, problem := readVarint(&s)
		if problem != "" || n != v.Length || !s.Empty() {
			t.Errorf("header %s: %d %q, want %d", v.Header, n, problem, v.Length)
		}
	}
}

func TestVectorsCryptoBasics(t *testing.T) {
	var vectors []struct {
		CipherSuite CipherSuite `json:"cipher_suite"`
		Ref         struct {
			Label, Out, Value string
		} `json:"ref_hash"`
		Sign struct {
			Content, Label, Pub, Signature string
		} `json:"sign_with_label"`
	}
	ReadVectors(t, "crypto-basics.json", &vectors)
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, v := range vectors {
		s, err := v.CipherSuite.lookup()
		if err != nil {
			t.Fatal(err)
		}
		if out := refHash(s.hash, v.Ref.Label, unhex(v.Ref.Value)); hex.EncodeToString(out) != v.Ref.Out {
			t.Errorf("%s: RefHash is %x, want %s", v.CipherSuite, out, v.Ref.Out)
		}
		key, content, signature := unhex(v.Sign.Pub), unhex(v.Sign.Content), unhex(v.Sign.Signature)
		if !s.signature.verifyWithLabel(key, v.Sign.Label, content, signature) {
			t.Errorf("%s: signature does not verify", v.CipherSuite)
		}
		if s.signature.verifyWithLabel(key, v.Sign.Label+"x", content, signature) {
			t.Errorf("%s: signature verifies under another label", v.CipherSuite)
		}
	}
}

// What a length claims takes no memory until the input has shown that much.
func TestLengthsTakeNoMemory(t *testing.T) {
	input := []byte{0, 1, 0, 1, 0xbf, 0xff, 0xff, 0xff, 1, 2, 3}
	allocated := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if _, err := ParseKeyPackage(input); err == nil {
				b.Fatal("accepted")
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 4096 {
		t.Errorf("%d bytes allocated for an input of %d", allocated, len(input))
	}
}
