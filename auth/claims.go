package auth

import (
	"encoding/base64"
	"slices"
	"strings"

	"welcomed/delivery"
)

// claims are what a JWT says, as its JSON has it.
type claims map[string]any

// claim returns what a name or a path of names stands for. A whole name comes
// first, because many are URLs. What is null is not there.
func (c claims) claim(path string) (any, bool) {
	if v, ok := c[path]; ok {
		return v, v != nil
	}
	name, rest, found := strings.Cut(path, ".")
	inner, ok := c[name].(map[string]any)
	if !found || !ok {
		return nil, false
	}
	return claims(inner).claim(rest)
}

// first returns the first name that is a claim, or "".
func (c claims) first(names ...string) string {
	for _, name := range names {
		if c[name] != nil {
			return name
		}
	}
	return ""
}

// text returns the claim at path, which has to be a string.
func (c claims) text(path string) (string, error) {
	v, ok := c.claim(path)
	if !ok {
		return "", badSubject("it has no claim %s", path)
	}
	s, ok := v.(string)
	if !ok {
		return "", badSubject("its claim %s is not a string", path)
	}
	return s, nil
}

// identifier returns the claim at path, which has to be one. The reason is not
// wrapped: that it is a bad identifier is the issuer's mistake, not one in the
// request.
func (c claims) identifier(path string) (string, error) {
	s, err := c.text(path)
	if err != nil {
		return "", err
	}
	if err := delivery.ValidIdentifier(s); err != nil {
		return "", badSubject("its claim %s does not name anybody here: %v", path, err)
	}
	return s, nil
}

// subject returns the claim that names the user as an id of this server.
func (o *oidc) subject(c claims) (string, error) {
	if o.opts.UserEncoding != Base64URL {
		return c.identifier(o.opts.UserClaim)
	}
	s, err := c.text(o.opts.UserClaim)
	if err != nil {
		return "", err
	}
	encoded := base64.RawURLEncoding.EncodeToString([]byte(s))
	if err := delivery.ValidIdentifier(encoded); err != nil {
		return "", badSubject("its claim %s has no encoding that names anybody here: %v", o.opts.UserClaim, err)
	}
	return encoded, nil
}

func (o *oidc) identifyUser(i Identity, c claims) (Identity, error) {
	user, err := o.subject(c)
	if err != nil {
		return Identity{}, err
	}
	i.User = delivery.UserID(user)
	if o.opts.DeviceClaim == "" {
		return i, nil
	}
	if i.Device, err = c.identifier(o.opts.DeviceClaim); err != nil {
		return Identity{}, err
	}
	return i, nil
}

func (o *oidc) identifyService(i Identity, c claims) (Identity, error) {
	var err error
	if name := c.first("client_id", "azp"); name != "" {
		i.Service, err = c.identifier(name)
	} else {
		i.Service, err = o.subject(c)
	}
	if err != nil {
		return Identity{}, err
	}
	return i, nil
}

// hasScope reports whether the token has a scope. Issuers write them as one
// string with spaces (RFC 8693, section 4.2) or as a list, under two names.
func (c claims) hasScope(scope string) (bool, error) {
	if scope == "" {
		return false, nil
	}
	for _, name := range []string{"scope", "scp"} {
		scopes, ok := scopeList(c[name])
		if !ok {
			return false, invalid("its claim %s is neither a string nor a list of strings", name)
		}
		if slices.Contains(scopes, scope) {
			return true, nil
		}
	}
	return false, nil
}

func scopeList(claim any) (scopes []string, ok bool) {
	switch claim := claim.(type) {
	case nil:
		return nil, true
	case string:
		return strings.Split(claim, " "), true
	case []any:
		for _, element := range claim {
			scope, ok := element.(string)
			if !ok {
				return nil, false
			}
			scopes = append(scopes, scope)
		}
		return scopes, true
	}
	return nil, false
}
