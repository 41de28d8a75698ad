package cli

import (
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"welcomed/auth"
	"welcomed/delivery"
	"welcomed/server"
)

const (
	defaultListen      = "127.0.0.1:9420"
	defaultAdminListen = "127.0.0.1:9421"
)

// A config has the flags of serve.
type config struct {
	listen, adminListen string
	socket              socketPath
	auth                string
	insecureNoAuth      bool
	budgets             budgets
	identity            server.IdentityTemplate
	db, defaultDB       string
	mustExist           bool
	throwaway           bool // the database is new and goes with this process; not a flag
	maxSize             int64
	trustClock          bool
	times               times
	limits              delivery.Limits
	oidc                auth.OIDCOptions
	longPoll            time.Duration
	pprof               bool
	answerBytes         int // what memory allows; not a flag
	logFormat, logLevel string
	backups             backupSettings
	webhook             webhookSettings

	tlsCert, tlsKey string
	adminToken      string
	serviceToken    string
	trustedProxies  []netip.Prefix
	origins         []server.Origin
	clientCaps      server.Caps

	checks      int              // signature checks at a time; not a flag
	memory      memory           // that there is; not a flag
	followsLoad bool             // the aim of the garbage collector does; not a flag
	hangups     <-chan os.Signal // SIGHUP; nil: nobody sends any; not a flag

	settings []server.Setting // what the flags say, for those who ask
}

func defaultConfig(env environment) *config {
	return &config{
		listen:      defaultListen,
		adminListen: defaultAdminListen,
		auth:        authNone,
		budgets:     defaultBudgets(),
		db:          defaultDB(env),
		defaultDB:   defaultDB(env),
		times:       defaultTimes(),
		limits:      delivery.DefaultLimits(),
		oidc:        auth.DefaultOIDCOptions(),
		longPoll:    50 * time.Second,
		clientCaps:  server.DefaultCaps(),
		answerBytes: server.DefaultAnswerBytes,

		backups: defaultBackups(env),

		logFormat: "text",
		logLevel:  "info",
	}
}

// defaultDB returns the path in the directory that systemd has made for the service, if it has.
// STATE_DIRECTORY may be a list.
func defaultDB(env environment) string {
	directories, _ := env.lookup("STATE_DIRECTORY")
	if first, _, _ := strings.Cut(directories, ":"); first != "" {
		return filepath.Join(first, "welcomed.db")
	}
	return "./welcomed.db"
}

func (c *config) flags() []cli.Flag {
	return slices.Concat(
		inGroup("Server", c.serverFlags(), c.socketFlags()),
		inGroup("Who may use it", c.authFlags()),
		inGroup("OpenID Connect", c.oidcFlags()),
		inGroup("TLS, proxies and clients", c.clientFlags()),
		inGroup("KeyPackages and Welcomes", c.limitFlags()),
		inGroup("Webhook", c.webhook.flags()),
		inGroup("Backups", c.backups.flags()),
		c.testFlags(),
	)
}

// inGroup puts flags under a heading of the help.
func inGroup(heading string, flags ...[]cli.Flag) []cli.Flag {
	all := slices.Concat(flags...)
	for _, flag := range all {
		flag.(cli.CategorizableFlag).SetCategory(heading)
	}
	return all
}

func (c *config) serverFlags() []cli.Flag {
	return []cli.Flag{
		textFlag("listen", &c.listen, "serve the API on `ADDRESS`"),
		textFlag("admin-listen", &c.adminListen, "serve metrics and health on `ADDRESS`"),
		textFlag("db", &c.db, "keep everything in `FILE`"),
		boolFlag("db-must-exist", &c.mustExist, "refuse to start if there is no database, instead of making a new one"),
		valueFlag("max-size", size(&c.maxSize, 0), "the file grows to at most `BYTES`; 0: as far as the disk has room"),
		boolFlag("trust-clock", &c.trustClock, "believe the clock although it jumped ahead or went back; use it for one start only"),
		valueFlag("log-format", choice(&c.logFormat, "text", "json"), "`FORMAT` of the log on stderr: text or json"),
		valueFlag("log-level", choice(&c.logLevel, "debug", "info", "warn", "error"), "`LEVEL` of the log: debug, info, warn or error"),
		boolFlag("pprof", &c.pprof, "serve profiles under /debug/pprof/ on --admin-listen"),
		valueFlag("long-poll", duration(&c.longPoll, time.Second), "a claim may wait for at most `DURATION`"),
	}
}

// limitFlags are the flags about what is kept. Other limits follow from them: see FollowShelf,
// FollowMailbox and FollowWelcome in package delivery.
func (c *config) limitFlags() []cli.Flag {
	l := &c.limits
	return []cli.Flag{
		valueFlag("cipher-suites", cipherSuites(&l.CipherSuites), "accept these cipher `SUITES`, and prefer the first ones"),
		valueFlag("match", match(&l.MatchReserved), "`WHICH` KeyPackages a Welcome can match: any, or reserved (by the poster of the Welcome)"),
		valueFlag("max-devices-per-user", number(&l.DevicesPerUser, 1), "a user has at most `N` devices"),
		valueFlag("max-key-packages-per-device", then(number(&l.KeyPackagesPerDevice, 1), l.FollowShelf),
			"a device has at most `N` KeyPackages on its shelf, a user ten times as many on all shelves. Off the shelf, where a Welcome can still name them, a device has at most 40 times as many and a user 80 times"),
		valueFlag("max-pending-per-device", then(number(&l.PendingPerDevice, 1), l.FollowMailbox),
			"at most `N` Welcomes wait for a device, a quarter of them from one poster; at most five times as many are not settled"),
		valueFlag("max-welcome-size", then(size(&l.WelcomeBytes, 1), l.FollowWelcome),
			"a Welcome with its ratchet tree and context has at most `BYTES`; 16 of the largest may wait for a device, four of them from one poster"),
		valueFlag("low-watermark", number(&l.LowWatermark, 0), "a device that has fewer than `N` KeyPackages counts as low"),
		valueFlag("shelf-age", duration(&l.ShelfAge, time.Second), "KeyPackages leave the shelf after `DURATION`"),
		valueFlag("max-lifetime", duration(&l.MaxLifetime, 0), "refuse KeyPackages with a lifetime longer than `DURATION`; 0: accept any"),
		valueFlag("welcome-kept", duration(&l.WelcomeKept, time.Second), "keep an unclaimed Welcome for `DURATION`"),
		valueFlag("outcomes-kept", duration(&l.OutcomesKept, 0), "posters can read what became of a Welcome for `DURATION` after its end"),
		valueFlag("forget-devices-after", duration(&l.ForgetDevicesAfter, 0), "remove devices that were not seen for `DURATION`, 400d for example, and have nothing left; 0: never"),
	}
}

// check refuses settings that contradict each other.
func (c *config) check() error {
	var wrong problems
	for _, check := range []func() error{c.checkServer, c.checkServiceToken, c.checkCaps, c.checkClients, c.checkOIDC, c.backups.check, c.webhook.check, c.checkMemory} {
		wrong.note(check())
	}
	return wrong.all()
}

func (c *config) checkServer() error {
	l := c.limits
	var wrong problems
	wrong.when(l.LowWatermark > l.KeyPackagesPerDevice, "--low-watermark %d is more than a shelf holds, --max-key-packages-per-device %d",
		l.LowWatermark, l.KeyPackagesPerDevice)
	wrong.when(l.ForgetDevicesAfter > 0 && l.ForgetDevicesAfter < delivery.IdleShown, "--forget-devices-after %s is less than %s: people go on holiday",
		formatDuration(l.ForgetDevicesAfter), formatDuration(delivery.IdleShown))
	wrong.when(c.insecureNoAuth && c.auth != authNone, "--insecure-no-auth goes with --auth none, not with --auth %s", c.auth)
	wrong.when(c.db == "", "--db is empty")
	return wrong.all()
}

func (c *config) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.logLevel)) // the flag allows no other words
	opts := &slog.HandlerOptions{Level: level}
	if c.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
