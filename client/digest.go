package client

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// Digest returns that of the refs of all private keys that a device holds, as
// [Client.Compare] takes it and an [Inventory] has it: SHA-256 over the raw refs, sorted
// and concatenated. Refs are in hexadecimal, in any order.
func Digest(refs []string) string {
	sorted := slices.Clone(refs)
	for i, ref := range sorted {
		sorted[i] = strings.ToLower(ref)
	}
	slices.Sort(sorted) // in hexadecimal, refs have the order of their bytes
	h := sha256.New()
	for _, ref := range slices.Compact(sorted) {
		raw, _ := hex.DecodeString(ref) // what is no ref is in no inventory, so the digests differ
		h.Write(raw)
	}
	return hex.EncodeToString(h.Sum(nil))
}
