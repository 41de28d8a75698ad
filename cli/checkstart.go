package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"welcomed/bolt"
)

// A startCheck goes through a start, as far as that changes nothing, and notes what a start
// would refuse.
type startCheck struct {
	*config
	log     *slog.Logger // of warnings
	wrong   problems
	running bool // a server has the database open
}

// checkStart says whether a server could start. For a moment it takes the ports, if they are
// free. It reads the database, unless a server has it open.
func checkStart(ctx context.Context, env environment, c *config) error {
	withoutTime := func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey && len(groups) == 0 {
			return slog.Attr{}
		}
		return a
	}
	s := &startCheck{config: c, log: slog.New(slog.NewTextHandler(env.stderr,
		&slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: withoutTime}))}
	c.warn(env, s.log)
	s.wrong.note(c.check())
	s.database()
	if s.backups.dir != "" {
		if err := isDirectory("--backup-dir", s.backups.dir); err != nil {
			s.wrong.note(err)
		} else {
			s.wrong.note(canMake("--backup-dir", s.backups.dir))
		}
	}
	s.listeners()
	s.adminSocket()
	s.certificate()
	s.issuer(ctx)
	if err := s.wrong.all(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(env.stdout, "configuration is sound")
	return err
}

func (s *startCheck) database() {
	if s.db == "" {
		return // check has said it
	}
	directory := filepath.Dir(s.db)
	if s.db != s.defaultDB {
		if err := isDirectory("the directory of --db", directory); err != nil {
			s.wrong.note(err)
			return
		}
	}
	s.wrong.note(canMake("the directory of --db", directory))
	found, err := bolt.Look(s.db)
	if errors.Is(err, bolt.ErrInUse) {
		s.running = true
		return
	}
	s.wrong.note(err)
	if found.New && s.mustExist {
		s.wrong.note(noneText(fmt.Errorf("%w %s", bolt.ErrNone, s.db)))
	} else if found.New {
		s.log.Warn("there is no database, and the start will make a new one", "db", absolute(s.db))
	}
	if s.auth == authOIDC {
		if err := found.Naming.Check(s.db, string(s.oidc.UserEncoding)); err != nil {
			s.wrong.note(fmt.Errorf("--oidc-user-encoding: %w", err))
		}
	}
	if found.Restored {
		s.warnRestored(s.log)
	}
	if up := found.Upgrade; up.To > 0 {
		s.log.Warn("the start will bring the database to a new format, and keep a copy of it as it is", "db", s.db, "from", up.From, "to", up.To)
	}
}

// canMake returns nil if files can be made in a directory, which exists or can be made.
func canMake(what, directory string) error {
	info, err := os.Stat(directory)
	switch parent := filepath.Dir(directory); {
	case errors.Is(err, fs.ErrNotExist) && parent != directory:
		return canMake(what, parent)
	case err == nil && !info.IsDir():
		err = syscall.ENOTDIR
	case err == nil:
		err = mayWrite(directory)
	}
	if err != nil {
		return fmt.Errorf("make %s: %s: %w", what, directory, withoutPath(err))
	}
	return nil
}

// withoutPath removes the path from an error of a file, because the sentence around it has it.
func withoutPath(err error) error {
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return failed.Err
	}
	return err
}

// listeners tries to listen at each address. While a server runs, a port that is in use is no
// problem.
func (s *startCheck) listeners() {
	api, err := s.apiAddress()
	s.wrong.note(err)
	if err == nil {
		s.warnOfClearTokens(api, s.log)
		defer s.try("--listen", s.listen, api.String())()
	}
	admin, err := net.ResolveTCPAddr("tcp", s.adminListen)
	if err != nil {
		s.wrong.note(fmt.Errorf("--admin-listen %s: %w", s.adminListen, err))
		return
	}
	s.wrong.note(s.guardAdmin(admin, s.log))
	defer s.try("--admin-listen", s.adminListen, s.adminListen)()
	s.fitFiles(openFiles(), s.log)
}

func (s *startCheck) try(flag, given, address string) (free func()) {
	l, err := net.Listen("tcp", address)
	switch {
	case err == nil:
		return func() { l.Close() }
	case !s.running || !errors.Is(err, syscall.EADDRINUSE):
		s.wrong.note(fmt.Errorf("%s %s: %w", flag, given, reason(err)))
	}
	return func() {}
}

func (s *startCheck) adminSocket() {
	path := s.socket.of(s.db)
	if path == "" {
		return
	}
	s.wrong.note(socketPathFits(path))
	stale, err := staleSocket(path)
	if err == nil && !stale && s.socket.given {
		_, err = os.Stat(filepath.Dir(path))
		err = withoutPath(err)
	}
	if err != nil && !(s.running && errors.Is(err, errAnswers)) {
		s.wrong.note(fmt.Errorf("--admin-socket %s: %w", path, err))
	}
}

// nearlyExpired is how long before its end a certificate is warned of: nobody seems to renew
// it.
const nearlyExpired = 7 * day

func (s *startCheck) certificate() {
	if s.tlsCert == "" || s.tlsKey == "" {
		return
	}
	loaded, err := s.readCertificate()
	s.wrong.note(err)
	if err == nil && time.Until(loaded.Expires()) < nearlyExpired {
		s.log.Warn("the certificate has expired or is about to", "tls_cert", s.tlsCert, "expires", loaded.Expires())
	}
}

// issuer fetches the keys once. If that fails in a way that may pass, it is a warning, as it is
// when a server starts.
func (s *startCheck) issuer(ctx context.Context) {
	if s.auth != authOIDC || s.checkOIDC() != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, err := s.oidcAuthenticator(ctx, nil, s.log)
	s.wrong.note(err)
}
