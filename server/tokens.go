package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"welcomed/auth"
	"welcomed/delivery"
)

type tokenJSON struct {
	ID        string          `json:"id"`
	Token     string          `json:"token,omitempty"` // only when it is made
	User      delivery.UserID `json:"user,omitempty"`
	Device    string          `json:"device,omitempty"`
	Service   string          `json:"service,omitempty"`
	ReadOnly  bool            `json:"read_only"`
	CreatedBy string          `json:"created_by,omitempty"`
	CreatedAt string          `json:"created_at"`
	ExpiresAt string          `json:"expires_at,omitzero"`
}

func newTokenJSON(t delivery.Token, text string) tokenJSON {
	return tokenJSON{t.ID, text, t.Owner.User, t.Owner.Device, t.Owner.Service, t.ReadOnly, t.CreatedBy, utc(t.CreatedAt), utc(t.Expires)}
}

// A newToken is what a caller says of the token to be made.
type newToken struct {
	ReadOnly  bool       `json:"read_only"`
	ExpiresAt *time.Time `json:"expires_at"`
}

// addToken makes a token. Only this answer has the secret.
func (s *Server) addToken(ctx context.Context, owner delivery.TokenOwner, by string, wanted newToken) (tokenJSON, error) {
	token, text := auth.NewToken(owner)
	token.ReadOnly, token.CreatedBy = wanted.ReadOnly, by
	if at := wanted.ExpiresAt; at != nil {
		if !at.After(time.Now()) {
			return tokenJSON{}, fmt.Errorf("%w: expires_at has passed", errBadRequest)
		}
		token.Expires = at.UTC().Truncate(time.Millisecond)
	}
	token, err := s.store.AddToken(ctx, token)
	if err != nil {
		return tokenJSON{}, err
	}
	return newTokenJSON(token, text), nil
}

type tokensJSON struct {
	Tokens []tokenJSON `json:"tokens"`
}

func (s *Server) listTokens(ctx context.Context, within delivery.TokenOwner) (tokensJSON, error) {
	tokens, err := s.store.Tokens(ctx, within)
	list := make([]tokenJSON, len(tokens))
	for i, t := range tokens {
		list[i] = newTokenJSON(t, "")
	}
	return tokensJSON{list}, err
}

// owner is the device of the path.
func (r *request) owner() delivery.TokenOwner {
	return delivery.TokenOwner{User: r.device.User, Device: r.device.Name}
}

// createToken handles POST /v1/users/:user/devices/:device/tokens.
func (s *Server) createToken(w http.ResponseWriter, r *request) error {
	var body newToken
	if err := r.readJSON(&body); err != nil {
		return err
	}
	token, err := s.addToken(r.Context(), r.owner(), r.identity.Service, body)
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, token)
}

// tokens handles GET /v1/users/:user/devices/:device/tokens.
func (s *Server) tokens(w http.ResponseWriter, r *request) error {
	list, err := s.listTokens(r.Context(), r.owner())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, list)
}

// revokeToken handles DELETE /v1/users/:user/devices/:device/tokens/:token.
func (s *Server) revokeToken(w http.ResponseWriter, r *request) error {
	if err := s.store.RevokeToken(r.Context(), r.owner(), r.token); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// operatorCreatesToken handles POST /tokens of the admin socket.
func (s *Server) operatorCreatesToken(w http.ResponseWriter, r *request) error {
	var body struct {
		User      delivery.UserID `json:"user"`
		Device    string          `json:"device"`
		Service   string          `json:"service"`
		ReadOnly  bool            `json:"read_only"`
		ExpiresAt *time.Time      `json:"expires_at"`
	}
	if err := r.readJSON(&body); err != nil {
		return err
	}
	owner := delivery.TokenOwner{User: body.User, Device: body.Device, Service: body.Service}
	if err := owner.Valid(); err != nil {
		return err
	}
	token, err := s.addToken(r.Context(), owner, "", newToken{body.ReadOnly, body.ExpiresAt})
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, token)
}

// operatorListsTokens handles GET /tokens of the admin socket.
func (s *Server) operatorListsTokens(w http.ResponseWriter, r *request) error {
	within := delivery.TokenOwner{User: delivery.UserID(r.query.Get("user")), Device: r.query.Get("device"), Service: r.query.Get("service")}
	list, err := s.listTokens(r.Context(), within)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, list)
}

// operatorRevokesToken handles DELETE /tokens/:token of the admin socket.
func (s *Server) operatorRevokesToken(w http.ResponseWriter, r *request) error {
	if err := s.store.RevokeToken(r.Context(), delivery.TokenOwner{}, r.token); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
