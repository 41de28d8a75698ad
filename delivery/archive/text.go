package archive

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"welcomed/delivery"
)

// What is hex in an archive. A Ref is a KeyPackageRef, a Start its first bytes or
// those of another hash.
type (
	Ref   string // raw
	Hash  [32]byte
	Key   [16]byte
	Start [8]byte
)

func (r Ref) MarshalText() ([]byte, error)   { return hex.AppendEncode(nil, []byte(r)), nil }
func (h Hash) MarshalText() ([]byte, error)  { return hex.AppendEncode(nil, h[:]), nil }
func (k Key) MarshalText() ([]byte, error)   { return hex.AppendEncode(nil, k[:]), nil }
func (s Start) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, s[:]), nil }

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

func (r *Ref) UnmarshalText(text []byte) error {
	b, err := unhex(text)
	*r = Ref(b)
	return err
}

func (h *Hash) UnmarshalText(text []byte) error  { return unhexInto(h[:], text) }
func (k *Key) UnmarshalText(text []byte) error   { return unhexInto(k[:], text) }
func (s *Start) UnmarshalText(text []byte) error { return unhexInto(s[:], text) }

func unhexInto(to, text []byte) error {
	b, err := unhex(text)
	if err == nil && len(b) != len(to) {
		err = fmt.Errorf("%d bytes in hex where there should be %d", len(b), len(to))
	}
	copy(to, b)
	return err
}

// unhex reads what has one spelling.
func unhex(text []byte) ([]byte, error) {
	b, err := hex.DecodeString(string(text))
	if err != nil || strings.ContainsAny(string(text), "ABCDEF") {
		return nil, fmt.Errorf("%.20q is no lower-case hex", text)
	}
	return b, nil
}

// A KeyPackageState is one of the domain, by its name.
type KeyPackageState delivery.KeyPackageState

func (s KeyPackageState) MarshalText() ([]byte, error) {
	return []byte(delivery.KeyPackageState(s).String()), nil
}

func (s *KeyPackageState) UnmarshalText(text []byte) error {
	i := slices.IndexFunc(delivery.KeyPackageStates, func(s delivery.KeyPackageState) bool { return s.String() == string(text) })
	if i < 0 {
		return fmt.Errorf("%.40q is no state of a KeyPackage", text)
	}
	*s = KeyPackageState(delivery.KeyPackageStates[i])
	return nil
}
