package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
)

const healthTimeout = 5 * time.Second

func healthCommand(env environment) *cli.Command {
	admin := defaultAdminListen
	return &cli.Command{
		Name:  "health",
		Usage: "ask a running server whether it is ready; exit code 0 means yes",
		Flags: []cli.Flag{textFlag("admin-listen", &admin, "the `ADDRESS` that the server was given")},
		Action: func(ctx context.Context, _ *cli.Command) error {
			if err := ready(ctx, admin); err != nil {
				return err
			}
			_, err := fmt.Fprintln(env.stdout, "ready")
			return err
		},
	}
}

// ready asks the server with its admin listener at address.
func ready(ctx context.Context, address string) error {
	url, err := readyURL(address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		reason, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("not ready: %s", strings.Join(strings.Fields(resp.Status+" "+string(reason)), " "))
	}
	return nil
}

// readyURL returns the URL to ask for an address that a server listens on. A server that
// listens on all addresses can be asked on loopback.
func readyURL(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("--admin-listen: %w", err)
	}
	if port == "0" {
		return "", errors.New("--admin-listen: port 0 is not where a server is")
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + "/readyz", nil
}
