package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// Publish puts a KeyPackage on the device's shelf.
func (d *Database) Publish(ctx context.Context, ref []byte, device string, keyPackage []byte) error {
	return pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
		var known bool
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM key_packages WHERE ref = $1)`, ref).Scan(&known)
		if err != nil {
			return err
		}
		if known {
			return ErrRefused
		}
		return one(ctx, tx, `INSERT INTO key_packages (ref, device, body) VALUES ($1, $2, $3)`, ref, device, keyPackage)
	})
}

// Reserve hands out the oldest KeyPackage on the device's shelf.
func (d *Database) Reserve(ctx context.Context, device string) (keyPackage []byte, err error) {
	err = pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
		var ref []byte
		err := found(tx.QueryRow(ctx, `SELECT ref, body FROM key_packages WHERE device = $1 AND state = 0
			ORDER BY published LIMIT 1 FOR UPDATE SKIP LOCKED`, device).Scan(&ref, &keyPackage))
		if err != nil {
			return err
		}
		return one(ctx, tx, `UPDATE key_packages SET state = 1 WHERE ref = $1`, ref)
	})
	return keyPackage, err
}

// Post keeps the Welcome for the KeyPackage, one at most.
func (d *Database) Post(ctx context.Context, ref, welcome []byte) error {
	return pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
		var state int16
		err := found(tx.QueryRow(ctx, `SELECT state FROM key_packages WHERE ref = $1 AND state < 2 FOR UPDATE`, ref).Scan(&state))
		if err != nil {
			return err
		}
		if err := one(ctx, tx, `INSERT INTO welcomes (ref, body) VALUES ($1, $2)`, ref, welcome); err != nil {
			return err
		}
		return one(ctx, tx, `UPDATE key_packages SET state = 2 WHERE ref = $1`, ref)
	})
}

// Claim returns the Welcome and consumes the KeyPackage, once. It takes six round trips.
func (d *Database) Claim(ctx context.Context, ref []byte) (welcome []byte, err error) {
	err = pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
		var state int16
		err := found(tx.QueryRow(ctx, `SELECT state FROM key_packages WHERE ref = $1 AND state = 2 FOR UPDATE`, ref).Scan(&state))
		if err != nil {
			return err
		}
		err = found(tx.QueryRow(ctx, `SELECT body FROM welcomes WHERE ref = $1 AND state = 0`, ref).Scan(&welcome))
		if err != nil {
			return err
		}
		if err := one(ctx, tx, `UPDATE key_packages SET state = 3 WHERE ref = $1`, ref); err != nil {
			return err
		}
		return one(ctx, tx, `UPDATE welcomes SET state = 1 WHERE ref = $1`, ref)
	})
	return welcome, err
}

// Acknowledge settles a claimed pair.
func (d *Database) Acknowledge(ctx context.Context, ref []byte) error {
	return pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
		var state int16
		err := found(tx.QueryRow(ctx, `SELECT state FROM welcomes WHERE ref = $1 AND state = 1 FOR UPDATE`, ref).Scan(&state))
		if err != nil {
			return err
		}
		return one(ctx, tx, `UPDATE welcomes SET state = 2 WHERE ref = $1`, ref)
	})
}

// found turns "no row" into a refusal.
func found(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrRefused
	}
	return err
}

// one runs a statement that has to change exactly one row.
func one(ctx context.Context, tx pgx.Tx, sql string, args ...any) error {
	tag, err := tx.Exec(ctx, sql, args...)
	if err == nil && tag.RowsAffected() != 1 {
		return ErrRefused
	}
	return err
}
