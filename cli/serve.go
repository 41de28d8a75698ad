package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/urfave/cli/v3"

	"welcomed/backup"
	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/metrics"
	"welcomed/operator/history"
	"welcomed/server"
)

func serveCommand(env environment) *cli.Command {
	c, checkOnly := defaultConfig(env), false
	flags := c.flags()
	return &cli.Command{
		Name:  "serve",
		Usage: "run the server until SIGTERM or SIGINT",
		Flags: append([]cli.Flag{boolFlag("check", &checkOnly, "only say whether a server could start with these settings; another may be running")}, flags...),
		Action: func(ctx context.Context, _ *cli.Command) error {
			c.fitMemory(findMemory(env), originsOf(ctx))
			if checkOnly {
				return checkStart(ctx, env, c)
			}
			c.settings = settingsOf(ctx, flags)
			ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			log := c.logger(env.stderr)
			hangups := make(chan os.Signal, 1)
			signal.Notify(hangups, syscall.SIGHUP) // from here on: a lost terminal ends nothing
			defer signal.Stop(hangups)
			c.hangups = hangups
			stopping := sync.OnceFunc(func() {
				stop() // a second signal ends the process at once
				log.Info("stopping")
				tellManager(log, daemon.SdNotifyStopping, status("answering what is on its way"))
			})
			notYet := context.AfterFunc(ctx, stopping)
			defer func() {
				if !notYet() {
					stopping() // returns when it was said
				}
			}()
			c.checks = spareThread(env)
			c.followsLoad = collectLess(env, c.memory)
			c.warn(env, log)
			if env.settings.values != nil {
				log.Info("settings of the service that is installed here", "file", env.settings.file)
			}
			tellManager(log, status("opening %s", c.db))
			return serve(ctx, c, log, stopping)
		},
	}
}

// serve runs the server, and calls stopping when it has ended.
func serve(ctx context.Context, c *config, log *slog.Logger, stopping func()) error {
	i, err := assemble(ctx, c, log)
	if err != nil {
		return err
	}
	log.Info("serving", "listen", i.api.Addr().String(), "admin_listen", i.admin.Addr().String(),
		"admin_socket", c.socket.of(c.db), "db", c.db, "version", currentVersion(), "memory", c.memory.String(),
		"url", urlOf(i.api.Addr(), i.certificate != nil)+"v1", "status_page", urlOf(i.admin.Addr(), false))
	tellManager(log, daemon.SdNotifyReady, status("serving on %s", i.api.Addr()))
	err = i.run(ctx)
	stopping()
	log.Info("stopped")
	return err
}

// urlOf returns the URL at which this machine reaches a listener.
func urlOf(listener net.Addr, tls bool) string {
	host, port, _ := net.SplitHostPort(listener.String())
	if ip := net.ParseIP(host); ip.IsUnspecified() {
		host = "localhost"
	}
	scheme := "http"
	if tls {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port) + "/"
}

// An instance is a server with everything that it needs.
type instance struct {
	api, admin  net.Listener
	socket      net.Listener // nil: none
	store       delivery.Store
	server      *server.Server
	sweeper     *sweeper
	history     *history.History
	certificate *certificate          // nil: no TLS
	backups     *backup.Schedule      // nil: none
	revoked     *backup.RevokedKeeper // nil: none
	webhook     *hookSender           // nil: none
	followsLoad bool
	memory      memory
	beatEvery   time.Duration // 0: nobody wants to hear
	hangups     <-chan os.Signal
	reloads     []func() // what a hangup has read again
}

const restoredText = "the database counts as a restored backup: what was on its shelves is not handed out again, devices have to refill them"

// revokedAgainText is said where the file beside the database had more than that.
const revokedAgainText = "what was revoked or removed after this state of the database was made stays so"

// revokedLostText is said where there was no such file.
const revokedLostText = "what was revoked or removed in the database is not beside it any more: if the database is a copy, tokens that were revoked and devices that were removed since it was made are valid again; look at welcomed token list, and remove those devices again"

// notYoursText is said after a restore where a credential need not name its device.
const notYoursText = "until devices have published again, who was shown a KeyPackage can publish it before its device does; --credential-identity would prevent it, and welcomed give REF USER/DEVICE gives one back (alert WelcomedKeyPackagesNotYours)"

// warnRestored says what a restore means.
func (c *config) warnRestored(log *slog.Logger, more ...any) {
	log.Warn(restoredText, append([]any{"db", c.db}, more...)...)
	if c.identity == "" {
		log.Warn(notYoursText)
	}
}

// assemble opens what an instance needs. After an error nothing stays open. Keys and
// certificates are kept up to date until ctx is done.
func assemble(ctx context.Context, c *config, log *slog.Logger) (_ *instance, err error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	i := &instance{followsLoad: c.followsLoad, memory: c.memory, beatEvery: beatEvery(log)}
	defer func() {
		if err != nil {
			i.closeListeners()
		}
	}()
	if err := i.listen(c); err != nil {
		return nil, err
	}
	if err := c.guardAdmin(i.admin.Addr(), log); err != nil {
		return nil, err
	}
	c.warnOfClearTokens(i.api.Addr(), log)
	c.fitFiles(openFiles(), log)
	c.warnOfMemory(log)
	registry := prometheus.NewRegistry()
	m := metrics.New(registry, currentVersion())
	if i.backups, err = c.backups.schedule(c.db, m, log); err != nil {
		return nil, err
	}
	file, err := i.openStore(c, m, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	authenticator, err := c.authenticator(ctx, i.store, log)
	if err != nil {
		return nil, err
	}
	if i.socket, err = listenOnSocket(c.socket.of(c.db)); err != nil {
		return nil, err
	}
	i.sweeper = &sweeper{store: i.store, every: c.times.sweep, log: log}
	if c.pprof {
		sampleWaiting()
	}
	if i.certificate, err = loadCertificate(c, m, log); err != nil {
		return nil, err
	}
	i.hangups = c.hangups
	if i.certificate != nil {
		i.reloads = append(i.reloads, i.certificate.reload)
	}
	if keys, ok := authenticator.(interface{ Reload() }); ok {
		i.reloads = append(i.reloads, keys.Reload)
	}
	if i.webhook, err = c.webhook.sender(i.store, m, log); err != nil {
		return nil, err
	}
	i.history = m.History(i.store, c.times.plots, delivery.SystemClock())
	o := i.serverOptions(c, m, log)
	o.Auth = c.withServiceToken(authenticator)
	o.Backup = &server.Backup{Copy: file.Backup, Kept: file.NoteBackup}
	o.Metrics = metricsHandler(registry, log)
	i.server = server.New(o)
	m.Serving(func() metrics.Load { return metrics.Load(i.server.Load()) })
	return i, nil
}

// openStore opens the database, and logs what was unusual about it.
func (i *instance) openStore(c *config, m *metrics.Metrics, log *slog.Logger) (*bolt.Store, error) {
	file, err := openFile(c, m, log)
	if err != nil {
		return nil, err
	}
	i.store = m.Store(file)
	if i.backups != nil {
		i.backups.Copy, i.backups.Kept = file.Backup, file.NoteBackup
		i.revoked = &backup.RevokedKeeper{
			Dir: i.backups.Dir, Bucket: i.backups.Bucket, To: i.backups.To,
			Copy:    func() (string, []byte, error) { return copyRevoked(file.RevokedNow, time.Now()) },
			Changed: file.RevokedChanged(), Observer: m, Log: log,
		}
	}
	if c.auth == authOIDC {
		if err := file.UseUserEncoding(context.Background(), string(c.oidc.UserEncoding)); err != nil {
			return nil, errors.Join(fmt.Errorf("--oidc-user-encoding: %w", err), file.Close())
		}
	}
	if file.Created() && !c.throwaway {
		log.Warn("a new database: there was none; if there should be one, stop, and look at --db and its disk", "db", absolute(c.db))
	}
	if file.Restored() {
		c.warnRestored(log, "because", file.RestoredBecause())
	}
	sayRevoked(file.Revoked(), func(text string, about ...any) { log.Warn(text, append([]any{"db", c.db}, about...)...) })
	if up, ok := file.Upgraded(); ok {
		log.Info("the database was brought to a new format, and a copy of it as it was is kept; to go back to the welcomed before, restore that copy with it", "db", c.db, "from", up.From, "to", up.To, "copy", up.Copy)
	}
	return file, nil
}

// serverOptions are what the flags say of the server, and who is told of what it
// does.
func (i *instance) serverOptions(c *config, m *metrics.Metrics, log *slog.Logger) server.Options {
	o := c.serverOptions(log)
	o.Store, o.Socket, o.Database = i.store, i.socket, databaseNames(c.db)
	o.Observe, o.OverBudget = m.ObserveRequest, m.ObserveOverBudget
	o.Refused = func(by server.Cap) { m.ObserveRefusal(string(by)) }
	o.Problem, o.GivenOften = countProblems(m), m.ObserveGivenOften
	o.EventsSent, o.StreamEnded = m.ObserveEventsSent, func(why server.StreamEnd) { m.ObserveStreamEnd(string(why)) }
	o.Status = server.StatusSource{History: i.history, SweptAt: m.SweptAt, SweepEvery: c.times.sweep}
	if i.backups != nil {
		o.Status.BackupEvery = c.backups.every
	}
	o.Webhook = i.webhook.server()
	if i.certificate != nil {
		o.Certificate = i.certificate.Certificate
	}
	return o
}

// countProblems returns a function that counts the problems with which the server answers.
func countProblems(m *metrics.Metrics) func(server.ProblemKind) {
	var kinds []metrics.ProblemKind
	for _, k := range server.ProblemKinds() {
		kinds = append(kinds, metrics.ProblemKind(k))
	}
	observe := m.Problems(kinds)
	return func(k server.ProblemKind) { observe(metrics.ProblemKind(k)) }
}

func metricsHandler(registry *prometheus.Registry, log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError,
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelError),
	})
}

// serverOptions are what the flags say of the server.
func (c *config) serverOptions(log *slog.Logger) server.Options {
	return server.Options{
		Limits:         c.limits,
		Log:            log,
		Version:        currentVersion(),
		NoAuth:         c.noAuth(),
		Budgets:        c.budgets.taken,
		HeaderRead:     c.times.header,
		BodyRead:       c.times.body,
		Idle:           c.times.idle,
		LongPoll:       c.longPoll,
		AnswerBytes:    c.answerBytes,
		Profiles:       c.pprof,
		Checks:         c.checks,
		CheckTime:      c.budgets.checkTime,
		Publish:        c.budgets.publish,
		Storage:        c.budgets.storage,
		Caps:           c.clientCaps,
		TrustedProxies: c.trustedProxies,
		Origins:        c.origins,
		AdminToken:     c.adminToken,
		Settings:       c.settings,

		CredentialIdentity: c.identity,
	}
}

// spareThread lets Go run on one thread more than there are processors. It returns the number
// of processors, which is how many signature checks run at a time. A check does not give way
// for up to six milliseconds, and while all threads are busy Go looks at the network only every
// ten. With one more thread the operating system shares the processors, and nobody waits for a
// check. If GOMAXPROCS is set, it changes nothing.
func spareThread(env environment) (processors int) {
	processors = runtime.GOMAXPROCS(0)
	if _, set := env.lookup("GOMAXPROCS"); !set {
		runtime.GOMAXPROCS(processors + 1)
	}
	return processors
}

// sampleWaiting fills the block and mutex profiles, which are empty otherwise: one sample for
// each millisecond that goroutines were blocked, and one for each hundred waits for a lock.
func sampleWaiting() {
	runtime.SetBlockProfileRate(int(time.Millisecond))
	runtime.SetMutexProfileFraction(100)
}

// apiAddress returns the address of the API, if the API may be served there.
func (c *config) apiAddress() (*net.TCPAddr, error) {
	addr, err := net.ResolveTCPAddr("tcp", c.listen)
	if err != nil {
		return nil, fmt.Errorf("--listen %s: %w", c.listen, err)
	}
	if c.auth == authNone && !c.insecureNoAuth && !addr.IP.IsLoopback() {
		return nil, fmt.Errorf("--auth none lets everybody in who reaches --listen %s, which is not a loopback address: listen on %s, or allow it with --insecure-no-auth",
			c.listen, defaultListen)
	}
	return addr, nil
}

func (i *instance) listen(c *config) (err error) {
	addr, err := c.apiAddress()
	if err != nil {
		return err
	}
	if i.api, err = net.Listen("tcp", addr.String()); err != nil {
		return fmt.Errorf("--listen %s: %w", c.listen, taken(err))
	}
	if i.admin, err = net.Listen("tcp", c.adminListen); err != nil {
		return fmt.Errorf("--admin-listen %s: %w", c.adminListen, taken(err))
	}
	return nil
}

// taken is reason, and says what to do if another process uses the port.
func taken(err error) error {
	if err = reason(err); errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: does another server run here? This flag chooses another port", err)
	}
	return err
}

// reason removes from a network error what the sentence around it says.
func reason(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

func (i *instance) closeListeners() {
	for _, l := range []net.Listener{i.api, i.admin, i.socket} {
		if l != nil {
			l.Close()
		}
	}
}

// reload reads certificates and keys again after each SIGHUP, until ctx is done. Without SIGHUP
// they are read again some seconds later.
func (i *instance) reload(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-i.hangups:
			i.sweeper.log.Info("SIGHUP: reading certificates and keys again; settings, and secrets in files, need a restart")
			for _, again := range i.reloads {
				again()
			}
		}
	}
}

func openFile(c *config, m *metrics.Metrics, log *slog.Logger) (*bolt.Store, error) {
	if err := makeDirectoryOf(c.db, c.defaultDB); err != nil {
		return nil, err
	}
	file, err := bolt.Open(c.db, bolt.Options{
		MustExist:     c.mustExist,
		Limits:        c.limits,
		TrustClock:    c.trustClock,
		MaxSize:       c.maxSize,
		LogSize:       c.memory.logSize(),
		ObserveCommit: m.ObserveCommit,
		Misplaced:     func(why error) { log.Error("cannot write to the database", "error", why) },
		ObserveDamage: func(part delivery.DamagedPart) {
			m.ObserveDamage(part)
			log.Error("found damaged data, which is not handed out", "kind", part.Kind, "name", part.Name, "recipients_ended", part.Ended)
		},
	})
	if errors.Is(err, bolt.ErrNone) {
		return nil, noneText(err)
	}
	return file, err
}

// noneText is the error of --db-must-exist if there is no database.
func noneText(err error) error {
	return fmt.Errorf("%w, and with --db-must-exist none is made: is --db right, and its disk mounted? Restore a backup, or start once with --db-must-exist=false for a new one", err)
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// run serves until ctx is done or the store has failed. Then it ends everything in order: no
// new requests, running ones finish, the sweeper stops, the store closes.
func (i *instance) run(ctx context.Context) error {
	sweeping, stopSweeping := context.WithCancel(context.WithoutCancel(ctx))
	var sweeper sync.WaitGroup
	sweeper.Go(func() { i.sweeper.run(sweeping) })
	sweeper.Go(func() { i.history.Run(sweeping) })
	if i.followsLoad {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		sweeper.Go(func() { i.memory.followLoad(sweeping, tick.C, i.server.Load) })
	}
	if i.certificate != nil {
		tick := time.NewTicker(certificateEvery)
		defer tick.Stop()
		sweeper.Go(func() { i.certificate.follow(sweeping, tick.C) })
	}
	sweeper.Go(func() { i.reload(sweeping) })
	if i.beatEvery > 0 {
		tick := time.NewTicker(i.beatEvery)
		defer tick.Stop()
		sweeper.Go(func() {
			beat(sweeping, tick.C, i.store.Ready, func() { tellManager(i.sweeper.log, daemon.SdNotifyWatchdog) })
		})
	}
	if i.webhook != nil {
		sweeper.Go(func() { i.webhook.run(sweeping) })
	}
	backingUp, stopBackingUp := context.WithCancel(ctx) // nobody waits for a backup
	defer stopBackingUp()
	if i.backups != nil {
		sweeper.Go(func() { i.backups.Run(backingUp) })
		sweeper.Go(func() { i.revoked.Run(backingUp) })
	}

	err := i.server.Serve(ctx, i.api, i.admin)
	stopSweeping()
	stopBackingUp()
	sweeper.Wait()
	return errors.Join(err, i.store.Close())
}
