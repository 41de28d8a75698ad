package auth

import (
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

// identifier returns the claim at path, which has to be one. The reason is not
// wrapped: that it is a bad identifier is the issuer's mistake, not one in the
// request.
func (c claims) identifier(path string) (string, error) {
	v, ok := c.claim(path)
	if !ok {
		return "", invalid("it has no claim %s", path)
	}
	s, ok := v.(string)
	if !ok {
		return "", invalid("its claim %s is not a string", path)
	}
	if err := delivery.ValidIdentifier(s); err != nil {
		return "", invalid("its claim %s does not name anybody here: %v", path, err)
	}
	return s, nil
}

func (o *oidc) identifyUser(i Identity, c claims) (Identity, error) {
	user, err := c.identifier(o.opts.UserClaim)
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
