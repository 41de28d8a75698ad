package store

import (
	"cmp"
	"context"
	"fmt"
)

// keyUserEncoding is the row that says how user ids are made of the subjects of an identity
// provider, as UseUserEncoding was told. Empty or missing means that the subjects are the ids.
var keyUserEncoding = []byte("user_encoding")

// UseUserEncoding notes how user ids are made of the subjects of an identity provider; empty
// means that they are the ids. It returns an error if the store knows devices of users who were
// named in another way: they could not reach their devices, and one user's subject could be
// another user's encoded id.
func (s *Store) UseUserEncoding(ctx context.Context, encoding string) error {
	var naming Naming
	look := func(t *Txn) error {
		naming = t.Naming()
		return nil
	}
	if err := s.engine.View(ctx, look); err != nil || naming.encoding == encoding {
		return err
	}
	if err := naming.Check(s.name, encoding); err != nil {
		return err
	}
	return s.run(ctx, func(t *Txn) error {
		t.put(KindMeta, keyUserEncoding, []byte(encoding))
		return nil
	})
}

// A Naming says how the users of a database are named.
type Naming struct {
	encoding string // as noted
	users    bool   // there are any
}

// Naming returns how users are named.
func (t *Txn) Naming() Naming {
	return Naming{string(t.get(KindMeta, keyUserEncoding)), len(t.keys(kindNames, nil, 1)) > 0}
}

// Check returns the error that UseUserEncoding would return. path is the database's, for the
// message.
func (n Naming) Check(path, encoding string) error {
	if !n.users || n.encoding == encoding {
		return nil
	}
	return fmt.Errorf("database %s has users whose ids are made with the encoding %s of an identity provider's subjects, not %s: go on with that one, or begin with a new database",
		path, cmp.Or(n.encoding, "none"), cmp.Or(encoding, "none"))
}
