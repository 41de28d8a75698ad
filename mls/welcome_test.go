package mls_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"welcomed/mls"
	"welcomed/mls/mlstest"
)

func refsOf(suite mls.CipherSuite, n int) []mls.KeyPackageRef {
	refs := make([]mls.KeyPackageRef, n)
	for i := range refs {
		refs[i] = mls.KeyPackageRef(mlstest.Random(suite.RefSize()))
	}
	return refs
}

func TestWelcomeIsReadAsItWasMade(t *testing.T) {
	bySuite(t, func(t *testing.T, s *mlstest.Signer) {
		a, b := s.KeyPackage(), s.KeyPackage()
		welcome := mlstest.WelcomeFor(a, b)
		w, err := mls.ParseWelcome(welcome)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Verify(); err != nil {
			t.Error(err)
		}
		if w.CipherSuite != s.Suite() || len(w.Secrets) != 2 || !bytes.Equal(w.Bytes(), welcome) {
			t.Fatalf("read as %+v", w)
		}
		for i, b := range [][]byte{a, b} {
			kp, err := mls.ParseKeyPackage(b)
			if err != nil {
				t.Fatal(err)
			}
			if w.Secrets[i].NewMember != kp.Ref() {
				t.Errorf("secrets[%d] is for %s, want %s", i, w.Secrets[i].NewMember, kp.Ref())
			}
			checkSlice(t, w, i)
		}
	})
}

func TestWelcomeTruncated(t *testing.T) {
	bySuite(t, func(t *testing.T, s *mlstest.Signer) {
		b := mlstest.WelcomeSize(30, s.Suite(), refsOf(s.Suite(), 2)...)
		for n := range b {
			if _, err := mls.ParseWelcome(b[:n]); !errors.Is(err, mls.ErrMalformed) {
				t.Errorf("the first %d of %d bytes: %v, want ErrMalformed", n, len(b), err)
			}
			// Three of them make a bare Welcome of suite 1 for nobody.
			w, err := mls.ReadWelcome(mls.Wrap(mls.WireFormatWelcome, b[:n]))
			if err == nil && w.Verify() == nil {
				t.Errorf("the first %d of %d bytes are accepted in an MLSMessage", n, len(b))
			}
		}
	})
}

func TestWelcomeMalformed(t *testing.T) {
	ref, kem, text, info := "20"+strings.Repeat("11", 32), "20"+strings.Repeat("22", 32), "33"+strings.Repeat("33", 51), "10"+strings.Repeat("44", 16)
	const suite, secretsLen = "0001", "4076"
	for _, test := range []struct {
		name, hex string
		valid     bool
	}{
		{"nothing wrong", suite + secretsLen + ref + kem + text + info, true},
		{"no secrets", suite + "00" + info, true}, // Verify says that it is for nobody
		{"half a suite", "00", false},
		{"secrets length not minimal", suite + "80000076" + ref + kem + text + info, false},
		{"secrets a byte longer than their entries", suite + "4077" + ref + kem + text + info, false},
		{"secrets a byte shorter than their entries", suite + "4075" + ref + kem + text + info, false},
		{"secrets longer than the input", suite + "bfffffff" + ref + kem + text + info, false},
		{"new_member length not minimal", suite + "4077" + "4020" + ref[2:] + kem + text + info, false},
		{"new_member of 31 bytes", suite + "4075" + "1f" + ref[4:] + kem + text + info, false},
		{"kem_output length not minimal", suite + "4077" + ref + "4020" + kem[2:] + text + info, false},
		{"ciphertext length not minimal", suite + "4077" + ref + kem + "4033" + text[2:] + info, false},
		{"ciphertext missing", suite + "4042" + ref + kem + info, false},
		{"encrypted_group_info length not minimal", suite + secretsLen + ref + kem + text + "4010" + info[2:], false},
		{"encrypted_group_info missing", suite + secretsLen + ref + kem + text, false},
		{"a byte after encrypted_group_info", suite + secretsLen + ref + kem + text + info + "00", false},
	} {
		b, err := hex.DecodeString(test.hex)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := mls.ReadWelcome(b); errors.Is(err, mls.ErrMalformed) == test.valid {
			t.Errorf("%s: %v, want valid: %v", test.name, err, test.valid)
		}
	}
}

func TestWelcomeWithOneDefect(t *testing.T) {
	bySuite(t, func(t *testing.T, s *mlstest.Signer) {
		suite := s.Suite()
		kem, text := mlstest.SecretsSize(suite)
		good := func() []byte { return mlstest.EncryptedGroupSecrets(suite, refsOf(suite, 1)[0]) }
		secret := func(ref, kem, text int) []byte {
			return bytes.Join([][]byte{mlstest.Vector(mlstest.Random(ref)), mlstest.Vector(mlstest.Random(kem)), mlstest.Vector(mlstest.Random(text))}, nil)
		}
		twice := good()
		otherHash := 64
		if suite.RefSize() == 64 {
			otherHash = 48
		}
		info := mlstest.Random(16)
		for _, test := range []struct {
			name    string
			code    mls.Code
			welcome []byte
		}{
			{"none", "", mls.SliceWelcome(suite, append(good(), good()...), info)},
			{"cipher suite 0", mls.CodeUnsupportedCipherSuite, mls.SliceWelcome(0, good(), info)},
			{"cipher suite 8", mls.CodeUnsupportedCipherSuite, mls.SliceWelcome(8, good(), info)},
			{"no secrets", mls.CodeNoRecipients, mls.SliceWelcome(suite, nil, info)},
			{"new_member a byte long", mls.CodeBadNewMember, mls.SliceWelcome(suite, append(good(), secret(suite.RefSize()+1, kem, text)...), info)},
			{"new_member of another hash", mls.CodeBadNewMember, mls.SliceWelcome(suite, secret(otherHash, kem, text), info)},
			{"kem_output a byte short", mls.CodeBadKEMOutput, mls.SliceWelcome(suite, append(good(), secret(suite.RefSize(), kem-1, text)...), info)},
			{"kem_output a byte long", mls.CodeBadKEMOutput, mls.SliceWelcome(suite, secret(suite.RefSize(), kem+1, text), info)},
			{"ciphertext a byte short", mls.CodeBadGroupSecrets, mls.SliceWelcome(suite, append(good(), secret(suite.RefSize(), kem, text-1)...), info)},
			{"encrypted_group_info a byte short", mls.CodeBadGroupInfo, mls.SliceWelcome(suite, good(), info[1:])},
			{"recipient twice", mls.CodeDuplicateRecipient, mls.SliceWelcome(suite, bytes.Join([][]byte{twice, good(), twice}, nil), info)},
			{"recipient twice with other secrets", mls.CodeDuplicateRecipient, mls.SliceWelcome(suite, append(sameRefAs(suite, twice), twice...), info)},
		} {
			w, err := mls.ReadWelcome(test.welcome)
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
				continue
			}
			if err := w.Verify(); codeOf(err) != test.code {
				t.Errorf("%s: %v (%s), want %s", test.name, err, codeOf(err), test.code)
			}
			checkVerdicts(t, test.name, w.Verify(), w.Checks())
		}
	})
}

// sameRefAs returns another entry for the recipient of entry.
func sameRefAs(suite mls.CipherSuite, entry []byte) []byte {
	w, err := mls.ParseWelcome(mls.SliceWelcome(suite, entry, nil))
	if err != nil {
		panic(err)
	}
	return mlstest.EncryptedGroupSecrets(suite, w.Secrets[0].NewMember)
}

// A recipient who is named twice is found among as many as there can be. Comparing all
// pairs would take long: BenchmarkVerifyWelcomeForMany says how long it takes.
func TestWelcomeForManyIsChecked(t *testing.T) {
	refs := refsOf(1, 30000)
	for want, refs := range map[mls.Code][]mls.KeyPackageRef{"": refs, mls.CodeDuplicateRecipient: append(refs, refs[0])} {
		w, err := mls.ParseWelcome(mlstest.Welcome(1, refs...))
		if err != nil {
			t.Fatal(err)
		}
		err = w.Verify()
		if refused := (*mls.Error)(nil); errors.As(err, &refused) && refused.Code != want || (err == nil) != (want == "") {
			t.Errorf("got %v, want the code %q", err, want)
		}
	}
}

// An input of entries without content must not take many times its own size.
func TestWelcomeOfEmptyEntriesTakesNoMemory(t *testing.T) {
	b := mls.SliceWelcome(1, make([]byte, 3<<20), nil)
	allocated := testing.AllocsPerRun(10, func() {
		if _, err := mls.ParseWelcome(b); err == nil {
			t.Error("accepted")
		}
	})
	if allocated > 20 {
		t.Errorf("%v allocations", allocated)
	}
}
