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

// A config is what the flags of serve say.
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

// defaultDB is in the directory that systemd made for the service, if it did;
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
		valueFlag("max-size", size(&c.maxSize, 0), "at most `BYTES` of the file; 0: what the disk holds"),
		boolFlag("trust-clock", &c.trustClock, "believe the clock although it jumped ahead or went back; for one start"),
		valueFlag("log-format", choice(&c.logFormat, "text", "json"), "`FORMAT` of the log on stderr: text or json"),
		valueFlag("log-level", choice(&c.logLevel, "debug", "info", "warn", "error"), "`LEVEL` of the log: debug, info, warn or error"),
		boolFlag("pprof", &c.pprof, "serve profiles on --admin-listen, under /debug/pprof/"),
		valueFlag("long-poll", duration(&c.longPoll, time.Second), "claims may wait for at most `DURATION`"),
	}
}

// limitFlags are about what is kept. Other limits follow from them: see FollowShelf,
// FollowMailbox and FollowWelcome in package delivery.
func (c *config) limitFlags() []cli.Flag {
	l := &c.limits
	return []cli.Flag{
		valueFlag("cipher-suites", cipherSuites(&l.CipherSuites), "accept these `SUITES`, the first ones preferred"),
		valueFlag("match", match(&l.MatchReserved), "Welcomes match `WHICH` KeyPackages: any, or reserved (by their poster)"),
		valueFlag("max-devices-per-user", number(&l.DevicesPerUser, 1), "at most `N` devices of a user"),
		valueFlag("max-key-packages-per-device", then(number(&l.KeyPackagesPerDevice, 1), l.FollowShelf),
			"at most `N` KeyPackages on a device's shelf, ten times as many on all of a user, and 40 and 80 times as many off them that Welcomes may name"),
		valueFlag("max-pending-per-device", then(number(&l.PendingPerDevice, 1), l.FollowMailbox),
			"at most `N` Welcomes that wait for a device, a quarter of them of one poster, and five times as many that it has not settled"),
		valueFlag("max-welcome-size", then(size(&l.WelcomeBytes, 1), l.FollowWelcome),
			"at most `BYTES` of a Welcome, its ratchet tree and context; 16 of the largest may wait for a device, four of one poster"),
		valueFlag("low-watermark", number(&l.LowWatermark, 0), "a device with fewer than `N` KeyPackages is low"),
		valueFlag("shelf-age", duration(&l.ShelfAge, time.Second), "KeyPackages leave the shelf after `DURATION`"),
		valueFlag("max-lifetime", duration(&l.MaxLifetime, 0), "longest lifetime accepted, `DURATION`; 0: any"),
		valueFlag("welcome-kept", duration(&l.WelcomeKept, time.Second), "keep an unclaimed Welcome for `DURATION`"),
		valueFlag("outcomes-kept", duration(&l.OutcomesKept, 0), "tell posters what became of a Welcome for `DURATION`"),
		valueFlag("forget-devices-after", duration(&l.ForgetDevicesAfter, 0), "remove devices that were not seen for `DURATION` and have nothing left, 400d for example; 0: never"),
	}
}

// check refuses settings that contradict each other.
func (c *config) check() error {
	var wrong problems
	for _, check := range []func() error{c.checkServer, c.checkServiceToken, c.checkCaps, c.checkClients, c.checkOIDC, c.backups.check, c.checkMemory} {
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
