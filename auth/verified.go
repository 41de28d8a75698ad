package auth

import (
	"crypto/sha256"

	"github.com/go-jose/go-jose/v4/jwt"
	lru "github.com/hashicorp/golang-lru/v2"
)

// maxVerified tokens are remembered, with about 600 bytes each.
const maxVerified = 8192

// verifiedTokens remember tokens with a right signature by their hash, so that
// it is not checked for each of a client's requests, which would cost a hundred
// times as much. They are believed as long as the issuer's keys are what they
// were, to the byte, so that a key that was withdrawn takes its tokens along;
// times are looked at each time. Only who has valid tokens can push others out,
// and that costs each of them one check.
type verifiedTokens struct {
	byHash *lru.Cache[tokenHash, verifiedToken]
}

type tokenHash = [sha256.Size]byte

type verifiedToken struct {
	identity Identity
	claims   jwt.Claims
	keys     *keySet // has the one that it was checked with
}

func newVerifiedTokens() *verifiedTokens {
	byHash, _ := lru.New[tokenHash, verifiedToken](maxVerified) // it refuses only sizes below 1
	return &verifiedTokens{byHash}
}

// get returns the token with a hash if it was checked with keys.
func (v *verifiedTokens) get(hash tokenHash, keys *keySet) (verifiedToken, bool) {
	t, ok := v.byHash.Get(hash)
	return t, ok && t.keys == keys
}

func (v *verifiedTokens) add(hash tokenHash, t verifiedToken) { v.byHash.Add(hash, t) }
