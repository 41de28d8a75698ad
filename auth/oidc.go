package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	// go-jose, and neither a whole OpenID client nor a smaller JWT library:
	// whoever parses names the algorithms, a JSON object with a member twice is
	// refused, and so is what the header marks critical.
	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"

	"welcomed/delivery"
)

// maxToken is more than a token with a hundred groups in it needs.
const maxToken = 16 << 10

// OIDCOptions say which JWTs are believed, and whom they stand for.
type OIDCOptions struct {
	// Issuer is what iss has to be, to the letter. Unless JWKS is set, it says
	// in its discovery document where its keys are.
	Issuer string
	// Audience has at least one name of this server; aud has to have one of them.
	Audience []string
	// JWKS is where the issuer's keys are: a URL or a file, which is read again
	// when it changes. Empty: where the issuer says.
	JWKS string
	// Algorithms that may have made a signature.
	Algorithms []string
	// Leeway is how far the issuer's clock may be from this one.
	Leeway time.Duration
	// Time is what is known of the time; nil: what the machine's clock says.
	Time func() delivery.ClockReading

	// UserClaim and DeviceClaim name the claims that have the user and the
	// device; a dot leads into an object. If DeviceClaim is set, a user's token
	// without it is refused: what narrows a token must not widen it by missing.
	UserClaim, DeviceClaim string
	// UserEncoding is how a subject, the value of UserClaim, becomes a user id.
	UserEncoding UserEncoding
	// ServiceScope, if set, makes a token that has this scope, in scope or scp, a
	// service's. Its name is in client_id, azp or UserClaim, the first there is.
	ServiceScope string

	Log *slog.Logger // nil: nowhere
}

// DefaultOIDCOptions returns what holds for what an operator does not set.
func DefaultOIDCOptions() OIDCOptions {
	return OIDCOptions{
		Algorithms: asymmetric(),     // all that are safe; the issuer's keys say which of them counts
		Leeway:     30 * time.Second, // two machines that NTP sets are apart by less
		UserClaim:  "sub",
	}
}

// A UserEncoding is how subjects become user ids. All of them are encoded, or none:
// otherwise one subject could be another's encoding.
type UserEncoding string

const (
	// Plain: a subject is a user id as it is.
	Plain UserEncoding = ""
	// Base64URL: base64url without padding (RFC 4648 §5) of a subject's UTF-8 bytes,
	// of which there are at most 191.
	Base64URL UserEncoding = "base64url"
)

// badSubjectEvery is how often a token that stands for nobody is logged: an issuer
// that names users otherwise sends nothing else.
const badSubjectEvery = time.Minute

// maxLeeway is far more than clocks that are set by others are apart.
const maxLeeway = 5 * time.Minute

func (o OIDCOptions) check() error {
	switch {
	case o.Issuer == "":
		return errors.New("no issuer of tokens is named")
	case len(o.Audience) == 0:
		return errors.New("no audience is named, so tokens for other servers would be valid here")
	case slices.Contains(o.Audience, ""):
		return errors.New("an audience is empty")
	case o.UserClaim == "":
		return errors.New("no claim is named that has the user")
	case o.UserEncoding != Plain && o.UserEncoding != Base64URL:
		return fmt.Errorf("%s is not a known encoding of users", o.UserEncoding)
	case o.Leeway < 0 || o.Leeway > maxLeeway:
		return fmt.Errorf("a leeway of %s is not between 0 and %s", o.Leeway, maxLeeway)
	case len(o.Algorithms) == 0:
		return errors.New("no algorithm is allowed")
	}
	for _, name := range o.Algorithms {
		if err := validAlgorithm(name); err != nil {
			return err
		}
	}
	return o.checkSource()
}

func (o OIDCOptions) checkSource() error {
	if o.JWKS != "" { // then the issuer is only a name
		if err := ValidJWKS(o.JWKS); err != nil {
			return fmt.Errorf("the place of the keys, %s: %w", o.JWKS, err)
		}
		return nil
	}
	if err := ValidIssuer(o.Issuer); err != nil {
		return fmt.Errorf("the issuer %s: %w", o.Issuer, err)
	}
	return nil
}

// OIDC returns an [Authenticator] for the JWTs of an OpenID Connect issuer, or
// of anybody else who publishes keys as such an issuer does. It fetches them
// again now and then until ctx is done, and when a token names one that it does
// not know.
//
// It returns an error if no token would ever be valid: the options contradict
// themselves, the file of keys is missing or broken, or the issuer says that it
// is another. An issuer that does not answer is none: there is a line in the
// log, tokens are [ErrUnavailable], and it is asked again until it does.
func OIDC(ctx context.Context, opts OIDCOptions) (Authenticator, error) {
	o, err := newOIDC(ctx, opts, realClock)
	if err != nil {
		return nil, err
	}
	return o, nil
}

func newOIDC(ctx context.Context, opts OIDCOptions, clock clock) (*oidc, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	if opts.Time == nil {
		opts.Time = func() delivery.ClockReading {
			now := clock.now()
			return delivery.ClockReading{Wall: now, Sure: now, Now: now, Sweep: true}
		}
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	o := &oidc{opts: opts, clock: clock, keys: newKeyRing(ctx, opts, clock), verified: newVerifiedTokens()}
	for _, name := range opts.Algorithms {
		o.algorithms = append(o.algorithms, jose.SignatureAlgorithm(name))
	}
	if err := o.keys.start(); err != nil {
		return nil, err
	}
	return o, nil
}

type oidc struct {
	opts       OIDCOptions
	algorithms []jose.SignatureAlgorithm
	clock      clock
	keys       *keyRing
	verified   *verifiedTokens

	warnMu   sync.Mutex
	warnedAt time.Time // of a token that stands for nobody
}

// Reload fetches the issuer's keys now. What is wrong with them is logged.
func (o *oidc) Reload() { <-o.keys.refresh().done }

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

func badSubject(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrBadSubject}, args...)...)
}

// warn logs now and then why a valid token stands for nobody.
func (o *oidc) warn(err error) {
	o.warnMu.Lock()
	defer o.warnMu.Unlock()
	if now := o.clock.now(); o.warnedAt.IsZero() || now.Sub(o.warnedAt) >= badSubjectEvery {
		o.warnedAt = now
		o.opts.Log.Warn("a valid token of the issuer stands for nobody here, see --oidc-user-claim, --oidc-device-claim and --oidc-user-encoding; this is logged once a minute",
			"issuer", o.opts.Issuer, "error", err)
	}
}

// Authenticate looks at what is cheap first: the signature is checked last, and
// the issuer's keys are not fetched for a token that would not be valid with
// any. No identity is made of claims before their signature was checked.
func (o *oidc) Authenticate(ctx context.Context, token string) (Identity, error) {
	if len(token) > maxToken {
		return Identity{}, invalid("it is longer than %d bytes", maxToken)
	}
	hash := sha256.Sum256([]byte(token))
	v, ok := o.verified.get(hash, o.keys.current.Load())
	if !ok {
		var err error
		if v, err = o.verify(ctx, token); err != nil {
			return Identity{}, err
		}
		o.verified.add(hash, v)
	} else if err := o.checkClaims(v.claims); err != nil {
		return Identity{}, err
	}
	return v.identity, nil
}

func (o *oidc) verify(ctx context.Context, token string) (verifiedToken, error) {
	t, err := o.parse(token)
	if err != nil {
		return verifiedToken{}, err
	}
	keys, err := o.checkSignature(ctx, t)
	if err != nil {
		return verifiedToken{}, err
	}
	identity, err := o.identify(t)
	if errors.Is(err, ErrBadSubject) {
		o.warn(err)
	}
	return verifiedToken{identity, t.registered, keys}, err
}

// A parsedToken may have been written by anybody.
type parsedToken struct {
	jws        *jose.JSONWebSignature
	registered jwt.Claims
	claims     claims
}

func (o *oidc) parse(token string) (*parsedToken, error) {
	jws, err := jose.ParseSignedCompact(token, o.algorithms)
	if _, ok := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); ok {
		return nil, invalid("it is signed with an algorithm that is not allowed here")
	} else if err != nil {
		return nil, invalid("it is not a signed JWT")
	}
	t := &parsedToken{jws: jws}
	if err := checkHeader(jws.Signatures[0].Protected); err != nil {
		return nil, err
	}
	payload := jws.UnsafePayloadWithoutVerification() // checkSignature verifies it
	if json.Unmarshal(payload, &t.registered) != nil || json.Unmarshal(payload, &t.claims) != nil {
		return nil, invalid("its claims are not a JSON object, or one of them is of the wrong type")
	}
	if _, ok := t.claims["events"]; ok {
		return nil, invalid("it tells of an event (RFC 8417) and gives no access")
	}
	return t, o.checkClaims(t.registered)
}

// checkHeader refuses what is not meant for access, as RFC 8725, section 3.11,
// advises, and what this server might misread. An ID token says JWT, or
// nothing: whether it gives access is for the audience to say.
func checkHeader(h jose.Header) error {
	if _, ok := h.ExtraHeaders["crit"]; ok {
		return invalid("it needs an extension that this server does not know")
	}
	if _, ok := h.ExtraHeaders["b64"]; ok { // RFC 7797, section 7: not in a JWT
		return invalid("it is not a signed JWT")
	}
	typ, ok := h.ExtraHeaders[jose.HeaderType]
	if !ok {
		return nil
	}
	text, _ := typ.(string)
	switch strings.TrimPrefix(strings.ToLower(text), "application/") {
	case "jwt", "at+jwt":
		return nil
	}
	return invalid("its type is neither JWT nor at+jwt")
}

// lastTime is the end of the year 9999, after which times have no text.
const lastTime = 253402300799

func (o *oidc) checkClaims(c jwt.Claims) error {
	for _, date := range []*jwt.NumericDate{c.Expiry, c.NotBefore, c.IssuedAt} {
		if date != nil && (*date < 0 || *date > lastTime) {
			return invalid("exp, nbf or iat is not a time")
		}
	}
	if c.Expiry == nil {
		return invalid("it has no exp, and must not be valid for ever")
	}
	at := o.opts.Time()
	expected := jwt.Expected{Issuer: o.opts.Issuer, AnyAudience: o.opts.Audience, Time: at.Now}
	switch err := c.ValidateWithLeeway(expected, o.opts.Leeway); {
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrInvalidIssuer):
		return invalid("it is of another issuer")
	case errors.Is(err, jwt.ErrInvalidAudience):
		return invalid("it is for another audience")
	case errors.Is(err, jwt.ErrExpired) && !at.Sure.Add(-o.opts.Leeway).After(c.Expiry.Time()):
		return fmt.Errorf("%w, and the token may have expired", delivery.ErrClock)
	case errors.Is(err, jwt.ErrExpired):
		return invalid("it expired at %s", c.Expiry.Time().UTC().Format(time.RFC3339))
	case !at.Sweep && (errors.Is(err, jwt.ErrNotValidYet) || errors.Is(err, jwt.ErrIssuedInTheFuture)):
		return fmt.Errorf("%w, and the token may be valid", delivery.ErrClock)
	case errors.Is(err, jwt.ErrNotValidYet), errors.Is(err, jwt.ErrIssuedInTheFuture):
		return invalid("it is not valid yet, or the issuer's clock is ahead")
	default:
		return invalid("its claims contradict each other")
	}
}

// checkSignature returns the keys among which was the one that made it.
func (o *oidc) checkSignature(ctx context.Context, t *parsedToken) (*keySet, error) {
	keys := o.keys.current.Load()
	err := keys.verify(t.jws)
	if !errors.Is(err, errUnknownKey) {
		return keys, err
	}
	if err := o.keys.renew(ctx); err != nil {
		return nil, err
	}
	if renewed := o.keys.current.Load(); renewed != keys {
		return renewed, renewed.verify(t.jws)
	}
	return nil, err
}

func (o *oidc) identify(t *parsedToken) (Identity, error) {
	i := Identity{Expires: t.registered.Expiry.Time().Add(o.opts.Leeway)}
	if at := t.registered.IssuedAt; at != nil {
		i.IssuedAt = at.Time().Add(-o.opts.Leeway) // the issuer's clock may be ahead by that
	}
	service, err := t.claims.hasScope(o.opts.ServiceScope)
	if err != nil {
		return Identity{}, err
	}
	if service {
		return o.identifyService(i, t.claims)
	}
	return o.identifyUser(i, t.claims)
}
