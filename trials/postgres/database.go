package postgres

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed schema.sql
var schema string

// poolSize is how many connections an API process holds at most.
const poolSize = 16

// ErrRefused is returned for an event whose turn has not come or is over.
var ErrRefused = errors.New("refused")

// A Form is one way to say the five events in SQL. Each is one transaction.
type Form interface {
	// Publish puts a KeyPackage on the device's shelf.
	Publish(ctx context.Context, ref []byte, device string, keyPackage []byte) error
	// Reserve hands out the oldest KeyPackage on the device's shelf.
	Reserve(ctx context.Context, device string) (keyPackage []byte, err error)
	// Post keeps the Welcome for the KeyPackage, one at most.
	Post(ctx context.Context, ref, welcome []byte) error
	// Claim returns the Welcome and consumes the KeyPackage, once.
	Claim(ctx context.Context, ref []byte) (welcome []byte, err error)
	// Acknowledge settles a claimed pair.
	Acknowledge(ctx context.Context, ref []byte) error
}

// Forms are the ways to say it, by name.
var Forms = map[string]func(*pgxpool.Pool) Form{
	"rounds":         func(p *pgxpool.Pool) Form { return rounds{p} },
	"statement":      func(p *pgxpool.Pool) Form { return newStatement(p) },
	"coalesced-flip": func(p *pgxpool.Pool) Form { return newCoalesced(p, flipClaims) },
	"coalesced-tomb": func(p *pgxpool.Pool) Form { return newCoalesced(p, tombClaims) },
}

// A Row is what Fill loads. One without a Welcome is on the shelf.
type Row struct {
	Ref                 []byte
	Device              string
	KeyPackage, Welcome []byte
}

const template = "filled"

// Fill makes the database that Open makes copies of.
func (c *Cluster) Fill(ctx context.Context, rows []Row) error {
	if _, err := c.admin.Exec(ctx, "CREATE DATABASE "+template); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, c.url(template))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, schema); err != nil {
		return err
	}
	if err := load(ctx, conn, rows); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "VACUUM ANALYZE")
	return err
}

func load(ctx context.Context, conn *pgx.Conn, rows []Row) error {
	var keyPackages, welcomes [][]any
	for _, r := range rows {
		state := int16(0)
		if r.Welcome != nil {
			state = 2
			welcomes = append(welcomes, []any{r.Ref, r.Welcome})
		}
		keyPackages = append(keyPackages, []any{r.Ref, r.Device, state, r.KeyPackage})
	}
	_, err := conn.CopyFrom(ctx, pgx.Identifier{"key_packages"}, []string{"ref", "device", "state", "body"}, pgx.CopyFromRows(keyPackages))
	if err != nil {
		return err
	}
	_, err = conn.CopyFrom(ctx, pgx.Identifier{"welcomes"}, []string{"ref", "body"}, pgx.CopyFromRows(welcomes))
	return err
}

// A Database is a copy of the filled one, used in one form.
type Database struct {
	Form
	cluster *Cluster
	name    string
	pool    *pgxpool.Pool
}

// Open makes a copy of the filled database for the named form.
func (c *Cluster) Open(ctx context.Context, form string) (*Database, error) {
	d := &Database{cluster: c, name: form}
	create := fmt.Sprintf("CREATE DATABASE %q TEMPLATE %s STRATEGY file_copy", form, template)
	if _, err := c.admin.Exec(ctx, create); err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(c.url(form))
	if err != nil {
		return nil, err
	}
	config.MaxConns = poolSize
	if d.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, err
	}
	d.Form = Forms[form](d.pool)
	return d, nil
}

// Census counts the pairs by where they are in their life.
func (d *Database) Census(ctx context.Context) (map[string]int, error) {
	rows, err := d.pool.Query(ctx, "SELECT coalesce(stage, 'torn'), count(*) FROM lives GROUP BY stage")
	if err != nil {
		return nil, err
	}
	found := make(map[string]int)
	var stage string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&stage, &n}, func() error {
		found[stage] = n
		return nil
	})
	return found, err
}

// Close drops the database, or leaves that to the end of the cluster if a call
// was broken off.
func (d *Database) Close() error {
	if c, ok := d.Form.(*coalesced); ok {
		c.close()
	}
	d.pool.Close()
	if d.cluster.admin.IsClosed() {
		return nil
	}
	_, err := d.cluster.admin.Exec(context.Background(), fmt.Sprintf("DROP DATABASE %q", d.name))
	return err
}
