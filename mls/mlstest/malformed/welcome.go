package malformed

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// Welcomes returns rows of all suites. What Sound and Broken name is in For.
func Welcomes() []Row {
	s := mlstest.NewSigner(1, "alice/phone")
	rows := slices.Concat(framedWelcomes(s), cutWelcomes(s), buildWelcomes(s, welcomeLengths()), buildWelcomes(s, welcomeContents()))
	for _, suite := range mlstest.Suites {
		for _, r := range buildWelcomes(mlstest.NewSigner(suite, "alice/phone"), welcomeSizes(suite)) {
			r.Name = fmt.Sprintf("%s, suite %d", r.Name, suite)
			rows = append(rows, r)
		}
	}
	return rows
}

// A welcome is a Welcome before it is encoded.
type welcome struct {
	suite   mls.CipherSuite
	secrets []secret
	info    []byte

	// change is given the encoding of every field and returns what is to stand
	// in its place.
	change func(field string, encoded []byte) []byte
}

type secret struct{ newMember, kemOutput, ciphertext []byte }

func (w *welcome) encode() []byte {
	field := func(name string, encoded []byte) []byte {
		if w.change == nil {
			return encoded
		}
		return w.change(name, slices.Clone(encoded))
	}
	var secrets []byte
	for _, s := range w.secrets {
		secrets = slices.Concat(secrets, field("new_member", mlstest.Vector(s.newMember)),
			field("kem_output", mlstest.Vector(s.kemOutput)), field("ciphertext", mlstest.Vector(s.ciphertext)))
	}
	return slices.Concat(field("cipher_suite", binary.BigEndian.AppendUint16(nil, uint16(w.suite))),
		field("secrets", mlstest.Vector(secrets)), field("encrypted_group_info", mlstest.Vector(w.info)))
}

// recipients are how many KeyPackages a Welcome of a row is for.
const recipients = 3

// newWelcome makes KeyPackages and a Welcome for them.
func newWelcome(s *mlstest.Signer) (*welcome, [][]byte) {
	w := &welcome{suite: s.Suite(), info: mlstest.Random(100)}
	kem, text := mlstest.SecretsSize(s.Suite())
	keyPackages := make([][]byte, recipients)
	for i := range keyPackages {
		keyPackages[i] = s.KeyPackage()
		kp, err := mls.ParseKeyPackage(keyPackages[i])
		if err != nil {
			panic("malformed: " + err.Error())
		}
		w.secrets = append(w.secrets, secret{[]byte(kp.Ref()), mlstest.Random(kem), mlstest.Random(text)})
	}
	return w, keyPackages
}

// A welcomeDefect is a row before it is made.
type welcomeDefect struct {
	name   string
	code   mls.Code
	damage func(*welcome)
}

func buildWelcomes(s *mlstest.Signer, defects []welcomeDefect) []Row {
	rows := make([]Row, len(defects))
	for i, d := range defects {
		w, keyPackages := newWelcome(s)
		rows[i] = Row{Name: "Welcome: " + d.name, Code: d.code, Suite: s.Suite(), Sound: w.encode(), For: keyPackages}
		d.damage(w)
		rows[i].Broken = w.encode()
	}
	return rows
}

func framedWelcomes(s *mlstest.Signer) (rows []Row) {
	add := func(name string, code mls.Code, frame func(bare []byte) []byte) {
		w, keyPackages := newWelcome(s)
		sound := w.encode()
		rows = append(rows, Row{Name: "Welcome: " + name, Code: code, Suite: s.Suite(), Broken: frame(sound), Sound: sound, For: keyPackages})
	}
	const format = mls.WireFormatWelcome
	for _, f := range framings(format) {
		add(f.name, f.code, f.frame)
	}
	add("in an MLSMessage of version 2", mls.CodeUnsupportedVersion, func(b []byte) []byte { return wrap(2, format, b) })
	add("in an MLSMessage of version 0", mls.CodeUnsupportedVersion, func(b []byte) []byte { return wrap(0, format, b) })
	add("called a KeyPackage by its MLSMessage", mls.CodeWrongMessageType, func(b []byte) []byte { return wrap(1, mls.WireFormatKeyPackage, b) })
	add("called a GroupInfo by its MLSMessage", mls.CodeWrongMessageType, func(b []byte) []byte { return wrap(1, mls.WireFormatGroupInfo, b) })
	add("a KeyPackage instead", mls.CodeWrongMessageType, func([]byte) []byte { return s.KeyPackage() })
	add("a ratchet tree instead", mls.CodeMalformed, func([]byte) []byte {
		return mlstest.Vector(append([]byte{1, 1}, leafOf(s, s.KeyPackage(plain(s)...))...))
	})
	add("a KeyPackage in an MLSMessage instead", mls.CodeWrongMessageType, func([]byte) []byte { return mls.Wrap(mls.WireFormatKeyPackage, s.KeyPackage()) })
	return rows
}

// cutWelcomes end before and inside each field.
func cutWelcomes(s *mlstest.Signer) (rows []Row) {
	w, _ := newWelcome(s)
	const entry = 1 + 32 + 1 + 32 + 1 + 51                       // of suite 1
	secrets := len(w.encode()) - 2 - len(mlstest.Vector(w.info)) // with its length
	last := 2 + secrets - entry                                  // where the last entry begins
	for _, cut := range []struct {
		name string
		at   int
	}{
		{"inside cipher_suite", 1},
		{"before secrets", 2},
		{"inside the length of secrets", 3},
		{"before the first new_member", 2 + secrets - recipients*entry},
		{"inside the first new_member", 2 + secrets - recipients*entry + 10},
		{"before the last entry", last},
		{"before the last kem_output", last + 33},
		{"inside the last kem_output", last + 33 + 10},
		{"before the last ciphertext", last + 66},
		{"inside the last ciphertext", last + 66 + 10},
		{"before encrypted_group_info", 2 + secrets},
		{"inside the length of encrypted_group_info", 2 + secrets + 1},
		{"inside encrypted_group_info", 2 + secrets + 10},
		{"a byte early", -1},
	} {
		w, keyPackages := newWelcome(s)
		sound := w.encode()
		at := cut.at
		if at < 0 {
			at += len(sound)
		}
		rows = append(rows, Row{Name: "Welcome ends " + cut.name, Code: mls.CodeMalformed, Suite: s.Suite(), Broken: sound[:at], Sound: sound, For: keyPackages})
	}
	return rows
}

// in damages the encoding of a field, of entries that of the last.
func in(name string, by func([]byte) []byte) func(*welcome) {
	inEntry := slices.Contains([]string{"new_member", "kem_output", "ciphertext"}, name)
	return func(w *welcome) {
		seen := 0
		w.change = func(field string, encoded []byte) []byte {
			if field != name {
				return encoded
			}
			if seen++; inEntry && seen < len(w.secrets) {
				return encoded
			}
			return by(encoded)
		}
	}
}

func welcomeLengths() (defects []welcomeDefect) {
	for _, d := range lengthDefects {
		for _, name := range []string{"secrets", "new_member", "kem_output", "ciphertext", "encrypted_group_info"} {
			defects = append(defects, welcomeDefect{name + ": " + d.name, mls.CodeMalformed, in(name, d.change)})
		}
	}
	resize := func(by int) func([]byte) []byte {
		return func(encoded []byte) []byte { // the length alone
			content := contentOf(encoded)
			return append(mlstest.Vector(make([]byte, len(content)+by))[:len(encoded)-len(content)], content...)
		}
	}
	return append(defects,
		welcomeDefect{"secrets: length one more than its entries", mls.CodeMalformed, in("secrets", resize(1))},
		welcomeDefect{"secrets: length one less than its entries", mls.CodeMalformed, in("secrets", resize(-1))},
		welcomeDefect{"secrets: number of entries for a length", mls.CodeMalformed, in("secrets", func(b []byte) []byte { return append([]byte{recipients}, contentOf(b)...) })},
		welcomeDefect{"new_member: length one less than there is", mls.CodeMalformed, in("new_member", resize(-1))},
		welcomeDefect{"ciphertext: length one more than there is", mls.CodeMalformed, in("ciphertext", resize(1))},
		welcomeDefect{"encrypted_group_info: length one less than there is", mls.CodeMalformed, in("encrypted_group_info", resize(-1))},
		welcomeDefect{"new_member missing", mls.CodeMalformed, in("new_member", to())},
		welcomeDefect{"kem_output missing", mls.CodeMalformed, in("kem_output", to())},
		welcomeDefect{"ciphertext missing", mls.CodeMalformed, in("ciphertext", to())},
		welcomeDefect{"secrets missing", mls.CodeMalformed, in("secrets", to())},
		welcomeDefect{"encrypted_group_info missing", mls.CodeMalformed, in("encrypted_group_info", to())},
		welcomeDefect{"cipher_suite missing", mls.CodeMalformed, in("cipher_suite", to())},
		welcomeDefect{"an entry that is empty", mls.CodeMalformed, func(w *welcome) { w.secrets = append(w.secrets, secret{}) }},
		welcomeDefect{"a byte after the last entry", mls.CodeMalformed, in("secrets", func(b []byte) []byte { return mlstest.Vector(append(contentOf(b), 0)) })},
		welcomeDefect{"kem_output and ciphertext in one vector", mls.CodeMalformed, func(w *welcome) {
			last := &w.secrets[recipients-1]
			last.kemOutput = slices.Concat(last.kemOutput, last.ciphertext)
			in("ciphertext", to())(w)
		}})
}

func welcomeContents() []welcomeDefect {
	suite := func(suite mls.CipherSuite) func(*welcome) { return func(w *welcome) { w.suite = suite } }
	newMember := func(by func([]byte) []byte) func(*welcome) {
		return func(w *welcome) { w.secrets[1].newMember = by(w.secrets[1].newMember) }
	}
	text := func(ref []byte) []byte { return []byte(hex.EncodeToString(ref)) }
	padded := func(n int) func([]byte) []byte {
		return func(ref []byte) []byte { return append(slices.Clone(ref), make([]byte, n-len(ref))...) }
	}
	return []welcomeDefect{
		{"cipher_suite 0", mls.CodeUnsupportedCipherSuite, suite(0)},
		{"cipher_suite 8, which there is not", mls.CodeUnsupportedCipherSuite, suite(8)},
		{"cipher_suite little-endian", mls.CodeUnsupportedCipherSuite, suite(0x0100)},
		{"cipher_suite for private use", mls.CodeUnsupportedCipherSuite, suite(0xf007)},
		{"cipher_suite of GREASE", mls.CodeUnsupportedCipherSuite, suite(0x0a0a)},
		{"cipher_suite with a longer hash", mls.CodeBadNewMember, suite(7)},
		{"cipher_suite of another curve", mls.CodeBadKEMOutput, suite(2)},
		{"secrets empty", mls.CodeNoRecipients, func(w *welcome) { w.secrets = nil }},
		{"new_member empty", mls.CodeMalformed, newMember(to())},
		{"new_member of one byte", mls.CodeMalformed, newMember(to(7))},
		{"new_member in hexadecimal", mls.CodeBadNewMember, newMember(text)},
		{"new_member of SHA-384", mls.CodeBadNewMember, newMember(padded(48))},
		{"new_member of SHA-512", mls.CodeBadNewMember, newMember(padded(64))},
		{"new_member a whole kilobyte", mls.CodeBadNewMember, newMember(padded(1024))},
		{"an entry twice", mls.CodeDuplicateRecipient, func(w *welcome) { w.secrets = append(w.secrets, w.secrets[0]) }},
		{"an entry twice, one after the other", mls.CodeDuplicateRecipient, func(w *welcome) { w.secrets = slices.Insert(w.secrets, 1, w.secrets[0]) }},
		{"a recipient twice, with other secrets", mls.CodeDuplicateRecipient, func(w *welcome) {
			again := w.secrets[1]
			again.ciphertext = mlstest.Random(len(again.ciphertext))
			w.secrets = append(w.secrets, again)
		}},
		{"a recipient twice, with other secrets of another size", mls.CodeDuplicateRecipient, func(w *welcome) {
			again := w.secrets[1]
			again.ciphertext = mlstest.Random(200)
			w.secrets = append(w.secrets, again)
		}},
		{"encrypted_group_info empty", mls.CodeBadGroupInfo, func(w *welcome) { w.info = nil }},
		{"encrypted_group_info of one byte", mls.CodeBadGroupInfo, func(w *welcome) { w.info = w.info[:1] }},
		{"encrypted_group_info a byte too short for a tag", mls.CodeBadGroupInfo, func(w *welcome) { w.info = w.info[:15] }},
	}
}

// welcomeSizes are wrong sizes of the last entry.
func welcomeSizes(suite mls.CipherSuite) []welcomeDefect {
	last := func(change func(*secret)) func(*welcome) {
		return func(w *welcome) { change(&w.secrets[recipients-1]) }
	}
	otherHash := 48
	if suite.RefSize() == 48 {
		otherHash = 64
	}
	otherKEM := map[bool]int{true: 56, false: 32}[suite == 1 || suite == 3]
	return []welcomeDefect{
		{"new_member a byte long", mls.CodeBadNewMember, last(func(s *secret) { s.newMember = append(slices.Clone(s.newMember), 0) })},
		{"new_member of another hash", mls.CodeBadNewMember, last(func(s *secret) { s.newMember = mlstest.Random(otherHash) })},
		{"kem_output empty", mls.CodeBadKEMOutput, last(func(s *secret) { s.kemOutput = nil })},
		{"kem_output a byte short", mls.CodeBadKEMOutput, last(func(s *secret) { s.kemOutput = s.kemOutput[1:] })},
		{"kem_output a byte long", mls.CodeBadKEMOutput, last(func(s *secret) { s.kemOutput = append(slices.Clone(s.kemOutput), 0) })},
		{"kem_output of another suite", mls.CodeBadKEMOutput, last(func(s *secret) { s.kemOutput = mlstest.Random(otherKEM) })},
		{"ciphertext empty", mls.CodeBadGroupSecrets, last(func(s *secret) { s.ciphertext = nil })},
		{"ciphertext of a tag alone", mls.CodeBadGroupSecrets, last(func(s *secret) { s.ciphertext = s.ciphertext[:16] })},
		{"ciphertext a byte too short for a joiner secret", mls.CodeBadGroupSecrets, last(func(s *secret) { s.ciphertext = s.ciphertext[1:] })},
	}
}
