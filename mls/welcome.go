package mls

// A Welcome lets those who were added by a Commit join the group (RFC 9420
// s12.4.3.1). Its slices are parts of the input it was read from, which must not
// change as long as they are in use.
type Welcome struct {
	CipherSuite        CipherSuite
	Secrets            []EncryptedGroupSecrets
	EncryptedGroupInfo []byte

	raw []byte
}

// EncryptedGroupSecrets is the part of a Welcome for one new member.
type EncryptedGroupSecrets struct {
	NewMember  KeyPackageRef // of the KeyPackage that was used to add the member
	KEMOutput  []byte        // encrypted_group_secrets.kem_output
	Ciphertext []byte        // encrypted_group_secrets.ciphertext

	raw []byte
}

// minRef is the size of the shortest hash of any cipher suite. Shorter refs are
// malformed rather than wrong, so that an input of empty entries cannot take
// thirty times its own size in memory.
const minRef = 32

// ParseWelcome reads a bare Welcome, which ends where b ends. A cipher suite that
// is not known is no failure: Verify refuses it. Every error is ErrMalformed.
//
//	struct {
//	    CipherSuite cipher_suite;
//	    EncryptedGroupSecrets secrets<V>;
//	    opaque encrypted_group_info<V>;
//	} Welcome;
func ParseWelcome(b []byte) (*Welcome, error) {
	d := decoder{rest: b}
	if len(b) > maxLength {
		d.fail("size", "more than any vector can hold")
	}
	w := &Welcome{raw: b, CipherSuite: CipherSuite(d.uint16("cipher_suite"))}
	d.each("secrets", func(d *decoder) {
		secret := d.encryptedGroupSecrets()
		if w.Secrets == nil && d.err == nil {
			// All entries of a real Welcome are about as long as the first.
			w.Secrets = make([]EncryptedGroupSecrets, 0, 1+len(d.rest)/len(secret.raw))
		}
		w.Secrets = append(w.Secrets, secret)
	})
	w.EncryptedGroupInfo = d.vector("encrypted_group_info")
	if err := d.finish("Welcome"); err != nil {
		return nil, err
	}
	return w, nil
}

// encryptedGroupSecrets reads
//
//	struct {
//	    KeyPackageRef new_member;
//	    HPKECiphertext encrypted_group_secrets;
//	} EncryptedGroupSecrets;
//
//	struct {
//	    opaque kem_output<V>;
//	    opaque ciphertext<V>;
//	} HPKECiphertext;
func (d *decoder) encryptedGroupSecrets() (s EncryptedGroupSecrets) {
	start := d.rest
	ref := d.vector("new_member")
	if len(ref) < minRef {
		d.fail("new_member", "shorter than any hash")
	}
	s.NewMember = KeyPackageRef(ref)
	s.KEMOutput = d.vector("kem_output")
	s.Ciphertext = d.vector("ciphertext")
	s.raw = start[:len(start)-len(d.rest)]
	return s
}

// CountRecipients returns for how many recipients a Welcome is, bare or in an
// MLSMessage, without reading it. Of what is no Welcome it is at most what
// ReadWelcome would read of it.
func CountRecipients(b []byte) int {
	n := countSecrets(b)
	if len(b) > messageHeader {
		n = max(n, countSecrets(b[messageHeader:]))
	}
	return n
}

// messageHeader is the size of version and wire_format in an MLSMessage.
const messageHeader = 4

func countSecrets(b []byte) (n int) {
	d := decoder{rest: b}
	d.uint16("cipher_suite")
	d.each("secrets", func(d *decoder) {
		if ref := d.vector("new_member"); len(ref) < minRef {
			d.fail("new_member", "shorter than any hash")
		}
		d.vector("kem_output")
		d.vector("ciphertext")
		if d.err == nil {
			n++
		}
	})
	return n
}

// Bytes returns the bare encoding, exactly as it was received.
func (w *Welcome) Bytes() []byte { return w.raw }

// Bytes returns the encoding of the one entry, exactly as it was received.
func (s EncryptedGroupSecrets) Bytes() []byte { return s.raw }

// Slice returns a bare Welcome for the recipient of Secrets[i] alone: same cipher
// suite, that one entry, same encrypted_group_info. Nothing in a Welcome depends
// on the list of recipients, so the recipient can join with it as with the whole.
func (w *Welcome) Slice(i int) []byte {
	return SliceWelcome(w.CipherSuite, w.Secrets[i].raw, w.EncryptedGroupInfo)
}

// SliceWelcome returns what Slice returns, from stored parts: secret is what
// EncryptedGroupSecrets.Bytes returned.
func SliceWelcome(suite CipherSuite, secret, encryptedGroupInfo []byte) []byte {
	b := make([]byte, 0, 2+4+len(secret)+4+len(encryptedGroupInfo))
	b = append(b, byte(suite>>8), byte(suite))
	b = appendVector(b, secret)
	return appendVector(b, encryptedGroupInfo)
}

// Verify checks everything about a Welcome that can be seen from outside, and
// returns the first failure as an *Error. Whether it can be opened, only its
// recipients can tell.
func (w *Welcome) Verify() error { return verify(w, welcomeRules) }

// Checks makes the checks of Verify, all of them, and returns each with its
// verdict. One that could not be made because of another failure has that
// failure as its verdict.
func (w *Welcome) Checks() []Check { return report(w, welcomeRules) }

var welcomeRules = []rule[*Welcome]{
	{"cipher suite is supported", (*Welcome).checkCipherSuite},
	{"there is a recipient", (*Welcome).checkRecipients},
	{"every new_member is a ref of the suite", (*Welcome).checkNewMembers},
	{"every kem_output has the suite's size", (*Welcome).checkKEMOutputs},
	{"every ciphertext can hold a joiner secret", (*Welcome).checkCiphertexts},
	{"encrypted_group_info can hold a tag", (*Welcome).checkGroupInfo},
	{"no recipient twice", (*Welcome).checkDuplicates},
}

func (w *Welcome) checkCipherSuite() error {
	_, err := w.CipherSuite.lookup()
	return err
}

func (w *Welcome) checkRecipients() error {
	if len(w.Secrets) == 0 {
		return refuse(CodeNoRecipients, "Welcome has no secrets")
	}
	return nil
}

func (w *Welcome) checkNewMembers() error {
	s, err := w.CipherSuite.lookup()
	if err != nil {
		return err
	}
	for i := range w.Secrets {
		if n := len(w.Secrets[i].NewMember); n != s.hash.Size() {
			return refuse(CodeBadNewMember, "secrets[%d].new_member has %d bytes, not %d", i, n, s.hash.Size())
		}
	}
	return nil
}

func (w *Welcome) checkKEMOutputs() error {
	s, err := w.CipherSuite.lookup()
	if err != nil {
		return err
	}
	for i := range w.Secrets {
		if n := len(w.Secrets[i].KEMOutput); n != s.kemKey {
			return refuse(CodeBadKEMOutput, "secrets[%d].kem_output has %d bytes, not %d", i, n, s.kemKey)
		}
	}
	return nil
}

func (w *Welcome) checkCiphertexts() error {
	s, err := w.CipherSuite.lookup()
	if err != nil {
		return err
	}
	for i := range w.Secrets {
		if n := len(w.Secrets[i].Ciphertext); n < s.minGroupSecrets() {
			return refuse(CodeBadGroupSecrets, "secrets[%d].ciphertext has %d bytes, less than %d", i, n, s.minGroupSecrets())
		}
	}
	return nil
}

func (w *Welcome) checkGroupInfo() error {
	if n := len(w.EncryptedGroupInfo); n < aeadTag {
		return refuse(CodeBadGroupInfo, "encrypted_group_info has %d bytes, less than %d", n, aeadTag)
	}
	return nil
}

func (w *Welcome) checkDuplicates() error {
	first := make(map[KeyPackageRef]int, len(w.Secrets))
	for i := range w.Secrets {
		ref := w.Secrets[i].NewMember
		if j, found := first[ref]; found {
			return refuse(CodeDuplicateRecipient, "secrets[%d] and secrets[%d] are for the same KeyPackage", j, i)
		}
		first[ref] = i
	}
	return nil
}
