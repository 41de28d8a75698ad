package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"welcomed/auth"
	"welcomed/bolt"
	"welcomed/delivery"
)

// tokenOptions has the flags of the commands about tokens.
type tokenOptions struct {
	env      environment
	db       string
	socket   socketPath
	user     string
	device   string
	service  string
	readOnly bool
	expires  time.Duration
}

func tokenCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:     "token",
		Usage:    "make, list and revoke the bearer tokens of --auth token",
		Commands: []*cli.Command{tokenAddCommand(env), tokenListCommand(env), tokenRevokeCommand(env)},
		Action:   noCommand,
	}
}

// flags returns the flags of every command about tokens, and more.
func (o *tokenOptions) flags(env environment, more ...cli.Flag) []cli.Flag {
	o.env, o.db = env, defaultDB(env)
	return append(more,
		textFlag("db", &o.db, "the `FILE` of the server; it is opened if no server runs"),
		socketFlag(&o.socket, "the `PATH` of the server's admin socket"),
	)
}

func (o *tokenOptions) ownerFlags() []cli.Flag {
	return []cli.Flag{
		textFlag("user", &o.user, "a `USER`"),
		textFlag("device", &o.device, "only this `DEVICE` of the user"),
		textFlag("service", &o.service, "a `SERVICE`, such as an application's back end, which may act for any user"),
	}
}

func (o *tokenOptions) owner() delivery.TokenOwner {
	return delivery.TokenOwner{User: delivery.UserID(o.user), Device: o.device, Service: o.service}
}

func tokenAddCommand(env environment) *cli.Command {
	o := &tokenOptions{}
	return &cli.Command{
		Name:  "add",
		Usage: "make a token, and print it once",
		Flags: o.flags(env, append(o.ownerFlags(),
			boolFlag("read-only", &o.readOnly, "the token may only read"),
			valueFlag("expires", duration(&o.expires, 0), "the token ends after `DURATION`; 0: only when it is revoked"))...),
		Action: func(ctx context.Context, _ *cli.Command) error {
			if err := o.owner().Valid(); err != nil {
				return fmt.Errorf("for whom? --user, --user with --device, or --service: %w", err)
			}
			return o.with(ctx, o.writing, func(k tokenKeeper) error { return o.add(ctx, env, k) })
		},
	}
}

func (o *tokenOptions) add(ctx context.Context, env environment, k tokenKeeper) error {
	wanted := tokenLine{User: o.user, Device: o.device, Service: o.service, ReadOnly: o.readOnly}
	if o.expires > 0 {
		wanted.ExpiresAt = time.Now().Add(o.expires).UTC().Format(time.RFC3339)
	}
	made, err := k.add(ctx, wanted)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.stderr, "token %s for %s; it is shown only now\n", made.ID, o.owner())
	_, err = fmt.Fprintln(env.stdout, made.Token)
	return err
}

func tokenListCommand(env environment) *cli.Command {
	o := &tokenOptions{}
	return &cli.Command{
		Name:  "list",
		Usage: "list the tokens: all, or those of one owner",
		Flags: o.flags(env, o.ownerFlags()...),
		Action: func(ctx context.Context, _ *cli.Command) error {
			return o.with(ctx, o.reading, func(k tokenKeeper) error {
				tokens, err := k.list(ctx, o.owner())
				if err != nil {
					return err
				}
				return printTokens(env, tokens)
			})
		},
	}
}

func printTokens(env environment, tokens []tokenLine) error {
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tFOR\tRIGHTS\tCREATED\tBY\tEXPIRES")
	for _, t := range tokens {
		rights, by, expires := "all", "operator", "never"
		if t.ReadOnly {
			rights = "read-only"
		}
		if t.CreatedBy != "" {
			by = t.CreatedBy
		}
		if t.ExpiresAt != "" {
			expires = t.ExpiresAt
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.owner(), rights, t.CreatedAt, by, expires)
	}
	return w.Flush()
}

func tokenRevokeCommand(env environment) *cli.Command {
	o := &tokenOptions{}
	return &cli.Command{
		Name:      "revoke",
		Usage:     "revoke a token, at once",
		ArgsUsage: "ID",
		Flags:     o.flags(env),
		ArgValidator: func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Len() != 1 {
				return errors.New("token revoke takes the id of one token, see token list")
			}
			return nil
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			return o.with(ctx, o.writing, func(k tokenKeeper) error {
				id := tokenID(cmd.Args().First())
				if err := k.revoke(ctx, id); err != nil {
					return fmt.Errorf("token %s: %w", id, err)
				}
				return nil
			})
		},
	}
}

// tokenID returns the id of a complete token, so that no error repeats its secret, or the id
// that was given.
func tokenID(text string) string {
	if rest, whole := strings.CutPrefix(text, "welcomed_"); whole {
		text, _, _ = strings.Cut(rest, "_")
	}
	return text
}

// A tokenLine is a token as the admin socket has it.
type tokenLine struct {
	ID        string `json:"id,omitempty"`
	Token     string `json:"token,omitempty"`
	User      string `json:"user,omitempty"`
	Device    string `json:"device,omitempty"`
	Service   string `json:"service,omitempty"`
	ReadOnly  bool   `json:"read_only"`
	CreatedBy string `json:"created_by,omitempty"`
	CreatedAt string `json:"created_at,omitempty"`
	ExpiresAt string `json:"expires_at,omitempty"`
}

func (t tokenLine) owner() delivery.TokenOwner {
	return delivery.TokenOwner{User: delivery.UserID(t.User), Device: t.Device, Service: t.Service}
}

// A tokenKeeper keeps the tokens: a running server, or its file.
type tokenKeeper interface {
	add(context.Context, tokenLine) (tokenLine, error)
	list(context.Context, delivery.TokenOwner) ([]tokenLine, error)
	revoke(ctx context.Context, id string) error
}

// A tokenFile has the tokens in the file of a server that does not run. The caller closes it.
type tokenFile interface {
	tokenKeeper
	Close() error
}

// reading opens the file to read it, which changes nothing.
func (o *tokenOptions) reading() (tokenFile, error) {
	file, err := bolt.OpenHistory(o.db, bolt.Options{Limits: delivery.DefaultLimits()})
	return readTokens{file}, err
}

// writing opens the file to change it.
func (o *tokenOptions) writing() (tokenFile, error) {
	store, err := openToChange(o.env, o.db)
	return fileTokens{store}, err
}

// with asks the running server. If none runs, it opens the file.
func (o *tokenOptions) with(ctx context.Context, open func() (tokenFile, error), do func(tokenKeeper) error) error {
	err := do(serverTokens{newOperator(o.env, o.socket, o.db)})
	if !errors.Is(err, errNoServer) {
		return err
	}
	if _, missing := os.Stat(o.db); errors.Is(missing, fs.ErrNotExist) {
		return fmt.Errorf("%w, and there is no file %s", err, o.db)
	}
	file, openErr := open()
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	return errors.Join(do(file), file.Close())
}

// serverTokens has the tokens of a running server.
type serverTokens struct{ *operator }

func (k serverTokens) add(ctx context.Context, wanted tokenLine) (made tokenLine, err error) {
	err = k.ask(ctx, http.MethodPost, "/tokens", wanted, &made)
	return made, err
}

func (k serverTokens) list(ctx context.Context, of delivery.TokenOwner) ([]tokenLine, error) {
	var answer struct {
		Tokens []tokenLine `json:"tokens"`
	}
	query := url.Values{"user": {string(of.User)}, "device": {of.Device}, "service": {of.Service}}
	err := k.ask(ctx, http.MethodGet, "/tokens?"+query.Encode(), nil, &answer)
	return answer.Tokens, err
}

func (k serverTokens) revoke(ctx context.Context, id string) error {
	return k.ask(ctx, http.MethodDelete, "/tokens/"+url.PathEscape(id), nil, nil)
}

// fileTokens has the tokens in the file of a server that does not run.
type fileTokens struct{ delivery.Store }

func (k fileTokens) add(ctx context.Context, wanted tokenLine) (tokenLine, error) {
	token, text := auth.NewToken(wanted.owner())
	token.ReadOnly = wanted.ReadOnly
	if wanted.ExpiresAt != "" {
		token.Expires, _ = time.Parse(time.RFC3339, wanted.ExpiresAt) // as add has written it
	}
	token, err := k.AddToken(ctx, token)
	made := lineOf(token)
	made.Token = text
	return made, err
}

func (k fileTokens) list(ctx context.Context, of delivery.TokenOwner) ([]tokenLine, error) {
	return listTokens(ctx, k, of)
}

// listTokens returns the tokens of a store.
func listTokens(ctx context.Context, from interface {
	Tokens(context.Context, delivery.TokenOwner) ([]delivery.Token, error)
}, of delivery.TokenOwner) ([]tokenLine, error) {
	tokens, err := from.Tokens(ctx, of)
	lines := make([]tokenLine, len(tokens))
	for i, t := range tokens {
		lines[i] = lineOf(t)
	}
	return lines, err
}

func (k fileTokens) revoke(ctx context.Context, id string) error {
	return k.RevokeToken(ctx, delivery.TokenOwner{}, id)
}

// readTokens has the tokens of a file that is only read.
type readTokens struct{ *bolt.History }

func (k readTokens) list(ctx context.Context, of delivery.TokenOwner) ([]tokenLine, error) {
	return listTokens(ctx, k, of)
}

func (readTokens) add(context.Context, tokenLine) (tokenLine, error) {
	return tokenLine{}, errors.ErrUnsupported
}

func (readTokens) revoke(context.Context, string) error { return errors.ErrUnsupported }

func lineOf(t delivery.Token) tokenLine {
	line := tokenLine{ID: t.ID, User: string(t.Owner.User), Device: t.Owner.Device, Service: t.Owner.Service,
		ReadOnly: t.ReadOnly, CreatedBy: t.CreatedBy, CreatedAt: t.CreatedAt.Format(time.RFC3339)}
	if !t.Expires.IsZero() {
		line.ExpiresAt = t.Expires.Format(time.RFC3339)
	}
	return line
}
