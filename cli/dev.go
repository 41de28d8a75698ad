package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"welcomed/dev"
)

// devOptions are the flags of dev.
type devOptions struct {
	listen, token string
	verbose       bool
}

func devCommand(env environment) *cli.Command {
	o := &devOptions{listen: defaultListen}
	return &cli.Command{
		Name:  "dev",
		Usage: "run a server to write an application with: in memory, for this machine only",
		Flags: []cli.Flag{
			textFlag("listen", &o.listen, "serve on `ADDRESS`, which is a loopback address"),
			secretFlag("service-token", &o.token, "`TOKEN` of the service "+serviceOfToken+"; without it a new one is made"),
			boolFlag("verbose", &o.verbose, "show headers and bodies, too"),
		},
		Commands: []*cli.Command{
			devControl(env, "clock", "advance DURATION", "have the clock of the server be ahead, and what has had its time by then end", 2, advanceClock),
			devControl(env, "lose-next-reply", "[PART]", "carry out the next request and lose its answer; with PART, one whose path has it, like claim", 1,
				func(args []string) (string, url.Values, error) {
					return "/lose-next-reply", url.Values{"path": {strings.Join(args, "")}}, nil
				}),
			devControl(env, "exhaust", "USER", "reserve all KeyPackages of USER, as somebody else would; last resorts stay", 1,
				func(args []string) (string, url.Values, error) {
					return "/exhaust", url.Values{"user": {strings.Join(args, "")}}, nil
				}),
			devControl(env, "full-disk", "on|off", "take no more KeyPackages and Welcomes (507 store_full), or take them again", 1,
				func(args []string) (string, url.Values, error) {
					return "/full-disk", url.Values{"is": {strings.Join(args, "")}}, nil
				}),
			devEventsCommand(env),
		},
		Action: func(ctx context.Context, _ *cli.Command) error {
			ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return o.serve(ctx, env)
		},
	}
}

// serve serves until ctx is done.
func (o *devOptions) serve(ctx context.Context, env environment) error {
	addr, err := net.ResolveTCPAddr("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w", o.listen, err)
	}
	if !addr.IP.IsLoopback() {
		return fmt.Errorf("--listen %s: everything is allowed here, so that it has to be a loopback address like %s; for other machines there is welcomed serve", o.listen, defaultListen)
	}
	if err := checkSecret("--service-token", o.token); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", addr.String())
	if err != nil {
		return fmt.Errorf("--listen %s: %w", o.listen, taken(err))
	}
	s, err := dev.New(dev.Options{Version: currentVersion(), Token: o.token, Out: env.stdout, Whole: o.verbose})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	base := urlOf(listener.Addr(), false)
	fmt.Fprintf(env.stdout, "welcomed dev: everything is in memory, and gone when this ends\n"+
		"  API            %s\n  documents      %sv1/docs\n  service token  %s (wanted for tokens, and for the events of all users)\n",
		strings.TrimSuffix(base, "/"), base, s.Token())
	web := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go s.Run(ctx)
	stopped := context.AfterFunc(ctx, func() { web.Close() })
	defer stopped()
	if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// devControl is a command that tells a server of dev to do something. It takes at most
// most arguments.
func devControl(env environment, name, args, usage string, most int, request func(args []string) (path string, query url.Values, err error)) *cli.Command {
	base := "http://" + defaultListen
	return &cli.Command{
		Name:      name,
		Usage:     usage,
		ArgsUsage: args,
		Flags:     []cli.Flag{textFlag("url", &base, "the `URL` of the server")},
		ArgValidator: func(_ context.Context, cmd *cli.Command) error {
			given := cmd.Args().Slice()
			if len(given) == 0 && !strings.HasPrefix(args, "[") {
				return fmt.Errorf("dev %s takes %s", name, args)
			}
			if len(given) <= most {
				return nil
			}
			if _, _, err := request(given[:most]); err != nil {
				return err // of -1d, which has what follows be no flags
			}
			return fmt.Errorf("dev %s takes %s, and not also %s", name, args, given[most])
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			path, query, err := request(cmd.Args().Slice())
			if err != nil {
				return err
			}
			status, err := askDev(ctx, http.MethodPost, strings.TrimSuffix(base, "/")+dev.Control+path+"?"+query.Encode())
			if err == nil {
				_, err = fmt.Fprintln(env.stdout, describe(status))
			}
			return err
		},
	}
}

func advanceClock(args []string) (string, url.Values, error) {
	if len(args) != 2 || args[0] != "advance" {
		return "", nil, errors.New("dev clock takes advance DURATION, like advance 8d")
	}
	d, err := parseDuration(args[1])
	if strings.HasPrefix(args[1], "-") {
		err = errors.New("the clock cannot go back: say by how much it goes ahead, like 8d")
	}
	if err == nil && d%time.Second != 0 {
		err = errors.New("not a whole number of seconds")
	}
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", args[1], err)
	}
	return "/clock", url.Values{"seconds": {strconv.FormatInt(int64(d/time.Second), 10)}}, nil
}

// askDev asks the controls of a server, and returns how it stands then.
func askDev(ctx context.Context, method, address string) (status dev.Status, err error) {
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return status, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return status, fmt.Errorf("is welcomed dev running? --url says where: %w", reason(err))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	switch {
	case err != nil:
		return status, err
	case resp.StatusCode == http.StatusNotFound:
		return status, errors.New("this is no server of welcomed dev, and no other can be controlled")
	case resp.StatusCode != http.StatusOK:
		return status, errors.New(strings.TrimSpace(string(text)))
	}
	if err := json.Unmarshal(text, &status); err != nil {
		return status, fmt.Errorf("read the answer: %w", err)
	}
	return status, nil
}

// describe says how a server of dev stands.
func describe(s dev.Status) string {
	words := []string{"its clock is at " + s.Time.Format(time.RFC3339)}
	if x := s.Exhausted; x != nil {
		words = slices.Insert(words, 0, fmt.Sprintf("reserved %d KeyPackages of %s", x.Reserved, x.User))
	}
	if s.FullDisk {
		words = append(words, "its disk is full")
	}
	if s.Losing != nil && s.Losing.Path == "" {
		words = append(words, "it loses the next reply")
	} else if s.Losing != nil {
		words = append(words, "it loses the next reply to a path with "+s.Losing.Path)
	}
	return strings.Join(words, ", ")
}
