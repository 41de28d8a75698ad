package proxy

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"welcomed/trials/harness"
)

// A proxy is started in a directory, and returns who signed its certificate.
type proxy struct {
	name  string
	start func(t *testing.T, dir string, at place) (roots *x509.CertPool)
}

// A place is where a proxy listens, and what it is in front of.
type place struct {
	host     string // that clients name
	secure   string // port
	upstream string // address
}

var proxies = []proxy{{"caddy", startCaddy}, {"nginx", startNginx}, {"haproxy", startHAProxy}}

func startCaddy(t *testing.T, dir string, at place) *x509.CertPool {
	t.Helper()
	file, err := filepath.Abs("../../deploy/caddy/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	run(t, dir, []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "CADDY_ADMIN=" + freePort(t),
		"DOMAIN=" + at.host + ":" + at.secure, "WELCOMED=" + at.upstream, "HTTP_PORT=" + port(freePort(t)), "HTTPS_PORT=" + at.secure},
		"caddy", "run", "--adapter", "caddyfile", "--config", file)
	return rootOf(t, dir)
}

// rootOf waits for the certificate of the authority that Caddy makes.
func rootOf(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	file := filepath.Join(dir, "caddy", "pki", "authorities", "local", "root.crt")
	for range 300 {
		text, err := os.ReadFile(file)
		if pool := x509.NewCertPool(); err == nil && pool.AppendCertsFromPEM(text) {
			return pool
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("Caddy makes no certificate at %s", file)
	return nil
}

func startNginx(t *testing.T, dir string, at place) *x509.CertPool {
	t.Helper()
	certificate, key, roots := certify(t, at.host)
	site := configured(t, "../../deploy/nginx/welcomed.conf", map[string]string{
		"server 127.0.0.1:9420":                 "server " + at.upstream,
		"listen 443 ssl http2":                  "listen 127.0.0.1:" + at.secure + " ssl http2",
		"server_name chat.example.org":          "server_name " + at.host,
		"/etc/ssl/certs/chat.example.org.pem":   write(t, dir, "chat.pem", certificate),
		"/etc/ssl/private/chat.example.org.key": write(t, dir, "chat.key", key),
	})
	runNginx(t, dir, site)
	return roots
}

// startPlainNginx is nginx with the one line for a proxy that everybody finds first.
func startPlainNginx(t *testing.T, dir string, at place) *x509.CertPool {
	t.Helper()
	certificate, key, roots := certify(t, at.host)
	runNginx(t, dir, "server {\nlisten 127.0.0.1:"+at.secure+" ssl;\nssl_certificate "+write(t, dir, "chat.pem", certificate)+
		";\nssl_certificate_key "+write(t, dir, "chat.key", key)+";\nlocation / { proxy_pass http://"+at.upstream+"; }\n}\n")
	return roots
}

// runNginx runs it in the foreground, with all of its files in dir.
func runNginx(t *testing.T, dir, site string) {
	t.Helper()
	user := ""
	if os.Getuid() == 0 {
		user = "user root;\n" // who may read dir
	}
	temporary := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temporary += kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
	}
	main := write(t, dir, "nginx.conf", user+"daemon off;\nworker_processes 1;\npid "+filepath.Join(dir, "pid")+
		";\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n"+temporary+"include "+write(t, dir, "site.conf", site)+";\n}\n")
	run(t, dir, nil, "nginx", "-c", main, "-p", dir, "-e", "stderr")
}

func startHAProxy(t *testing.T, dir string, at place) *x509.CertPool {
	t.Helper()
	return startHAProxyFor(t, dir, at, "75s")
}

// startImpatientHAProxy is HAProxy as it is often found, which cuts off an answer that
// takes 30 s, as a claim that waits does.
func startImpatientHAProxy(t *testing.T, dir string, at place) *x509.CertPool {
	t.Helper()
	return startHAProxyFor(t, dir, at, "30s")
}

func startHAProxyFor(t *testing.T, dir string, at place, patience string) *x509.CertPool {
	t.Helper()
	certificate, key, roots := certify(t, at.host)
	run(t, dir, nil, "haproxy", "-f", write(t, dir, "haproxy.cfg", configured(t, "../../deploy/haproxy/haproxy.cfg", map[string]string{
		"bind :443":                         "bind 127.0.0.1:" + at.secure,
		"/etc/haproxy/chat.example.org.pem": write(t, dir, "chat.pem", certificate+key),
		"127.0.0.1:9420":                    at.upstream,
		"timeout server 75s":                "timeout server " + patience,
	})))
	return roots
}

// configured returns the configuration in a file with what a person puts in. All of
// it has to be there, each once besides comments.
func configured(t *testing.T, file string, changes map[string]string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for from, to := range changes {
		if n := strings.Count(text, from); n != 1 {
			t.Fatalf("%s has %q %d times", file, from, n)
		}
		text = strings.Replace(text, from, to, 1)
	}
	return text
}

func write(t *testing.T, dir, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// certify makes a certificate for a host, which signs itself.
func certify(t *testing.T, host string) (certificate, key string, roots *x509.CertPool) {
	t.Helper()
	c, err := harness.NewCertificate(host)
	if err != nil {
		t.Fatal(err)
	}
	return string(c.Chain), string(c.Key), c.Roots
}
