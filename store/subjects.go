package store

import (
	"cmp"
	"context"
	"fmt"
)

// keyUserEncoding is how user ids are made of an identity provider's subjects, as
// UseUserEncoding was told; empty or missing: they are the ids.
var keyUserEncoding = []byte("user_encoding")

// UseUserEncoding notes how user ids are made of an identity provider's subjects,
// empty for not at all. It returns an error if the store knows devices of users that
// were named otherwise: they would be strangers, and a subject could be another
// user's encoding.
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

// A Naming is how the users that a database has are named.
type Naming struct {
	encoding string // as noted
	users    bool   // there are any
}

// Naming is how users are named.
func (t *Txn) Naming() Naming {
	return Naming{string(t.get(KindMeta, keyUserEncoding)), len(t.keys(kindNames, nil, 1)) > 0}
}

// Check returns an error if UseUserEncoding would, with the database at path.
func (n Naming) Check(path, encoding string) error {
	if !n.users || n.encoding == encoding {
		return nil
	}
	return fmt.Errorf("database %s has users whose ids are made with the encoding %s of an identity provider's subjects, not %s: go on with that one, or begin with a new database",
		path, cmp.Or(n.encoding, "none"), cmp.Or(encoding, "none"))
}
