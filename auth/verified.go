package auth

import (
	"crypto/sha256"
	"sync"

	"github.com/go-jose/go-jose/v4/jwt"
)

// maxVerified tokens are remembered, and before them as many again.
const maxVerified = 4096

// verifiedTokens remember tokens with a right signature by their hash, so that
// it is not checked for each of a client's requests. They are believed as long
// as the issuer's keys are what they were, to the byte, so that a key that was
// withdrawn takes its tokens along; times are looked at each time. Only who has
// a valid token can push others out, and that costs a check.
type verifiedTokens struct {
	mu          sync.Mutex
	young, aged map[tokenHash]verifiedToken
}

type tokenHash = [sha256.Size]byte

type verifiedToken struct {
	identity Identity
	claims   jwt.Claims
	keys     *keySet // has the one that it was checked with
}

func newVerifiedTokens() *verifiedTokens {
	return &verifiedTokens{young: map[tokenHash]verifiedToken{}}
}

// get returns the token with a hash if it was checked with keys.
func (v *verifiedTokens) get(hash tokenHash, keys *keySet) (verifiedToken, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	t, ok := v.young[hash]
	if !ok {
		if t, ok = v.aged[hash]; ok {
			v.put(hash, t)
		}
	}
	return t, ok && t.keys == keys
}

func (v *verifiedTokens) add(hash tokenHash, t verifiedToken) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.put(hash, t)
}

// put forgets the tokens that were not used while maxVerified others were.
func (v *verifiedTokens) put(hash tokenHash, t verifiedToken) {
	if len(v.young) >= maxVerified {
		v.young, v.aged = map[tokenHash]verifiedToken{}, v.young
	}
	v.young[hash] = t
}
