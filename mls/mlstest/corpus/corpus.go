// Package corpus holds KeyPackages and Welcomes that a real client (ts-mls 1.6.4)
// made, about a megabyte, for tests. README.md beside it says how.
package corpus

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"welcomed/mls"
)

//go:embed ts-mls.json.gz
var mixed []byte

//go:embed ts-mls-1000.json.gz
var thousand []byte

// A Corpus is KeyPackages and the Welcomes for some of them.
type Corpus struct {
	KeyPackages []KeyPackage
	Welcomes    []Welcome
}

// A KeyPackage comes with what another parser read in it.
type KeyPackage struct {
	CipherSuite mls.CipherSuite
	Identity    string
	Ref         mls.KeyPackageRef
	LastResort  bool
	Lifetime    mls.Lifetime
	Bytes       []byte
	Wrapped     bool // Bytes is an MLSMessage
}

// A Welcome comes with what another parser read in it.
type Welcome struct {
	CipherSuite mls.CipherSuite
	Recipients  []int // of Corpus.KeyPackages, in the order of Welcome.secrets
	NewMembers  []mls.KeyPackageRef
	Bytes       []byte
	Wrapped     bool   // Bytes is an MLSMessage
	RatchetTree []byte // the tree, where it is not in the Welcome
}

// Mixed returns 229 KeyPackages and 15 Welcomes for 1 to 50 of them, of the suites
// 1 to 7 and of private ones from 77 to 87. Most lifetimes end on 2027-02-15.
func Mixed() (*Corpus, error) { return load(mixed) }

// Thousand returns 1000 KeyPackages of suite 1 and one Welcome for all of them.
func Thousand() (*Corpus, error) { return load(thousand) }

// An entry is an element of the JSON array.
type entry struct {
	Kind           string          `json:"kind"`
	ID             int             `json:"id"`
	CipherSuite    mls.CipherSuite `json:"cipherSuite"`
	Identity       string          `json:"identity"`
	Wrapped        bool            `json:"wrapped"`
	KeyPackageHex  hexBytes        `json:"keyPackageHex"`
	RefHex         hexBytes        `json:"refHex"`
	LastResort     bool            `json:"lastResort"`
	NotBefore      uint64          `json:"notBefore,string"`
	NotAfter       uint64          `json:"notAfter,string"`
	WelcomeHex     hexBytes        `json:"welcomeHex"`
	Recipients     []int           `json:"recipients"`
	NewMemberRefs  []hexBytes      `json:"newMemberRefs"`
	RatchetTreeHex hexBytes        `json:"ratchetTreeHex"`
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

func load(compressed []byte) (*Corpus, error) {
	r, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, fmt.Errorf("unpack corpus: %w", err)
	}
	var entries []entry
	if err := json.NewDecoder(r).Decode(&entries); err != nil {
		return nil, fmt.Errorf("read corpus: %w", err)
	}
	c, index := new(Corpus), make(map[int]int)
	for _, e := range entries {
		if e.Kind == "keyPackage" {
			index[e.ID] = len(c.KeyPackages)
			c.KeyPackages = append(c.KeyPackages, e.keyPackage())
		}
	}
	for _, e := range entries {
		if e.Kind == "welcome" {
			c.Welcomes = append(c.Welcomes, e.welcome(index))
		}
	}
	return c, nil
}

func (e entry) keyPackage() KeyPackage {
	return KeyPackage{
		CipherSuite: e.CipherSuite,
		Identity:    e.Identity,
		Ref:         mls.KeyPackageRef(e.RefHex),
		LastResort:  e.LastResort,
		Lifetime:    mls.Lifetime{NotBefore: e.NotBefore, NotAfter: e.NotAfter},
		Bytes:       e.KeyPackageHex,
		Wrapped:     e.Wrapped,
	}
}

func (e entry) welcome(index map[int]int) Welcome {
	w := Welcome{CipherSuite: e.CipherSuite, Bytes: e.WelcomeHex, Wrapped: e.Wrapped, RatchetTree: e.RatchetTreeHex}
	for _, id := range e.Recipients {
		w.Recipients = append(w.Recipients, index[id])
	}
	for _, ref := range e.NewMemberRefs {
		w.NewMembers = append(w.NewMembers, mls.KeyPackageRef(ref))
	}
	return w
}
