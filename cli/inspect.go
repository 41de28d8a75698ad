package cli

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/urfave/cli/v3"

	"welcomed/delivery"
	"welcomed/mls"
)

// inspectMost is the largest input that is read.
const inspectMost = 64 << 20

func inspectCommand(env environment) *cli.Command {
	asJSON := false
	return &cli.Command{
		Name:      "inspect",
		Usage:     "say what a KeyPackage or Welcome is, and check it",
		ArgsUsage: "FILE|-",
		Description: "It reads raw bytes, hexadecimal or base64; the object may be bare or in an MLSMessage. The exit\n" +
			"code is 1 if a check fails, or if the input is something else.",
		Flags: []cli.Flag{boolFlag("json", &asJSON, "print JSON")},
		ArgValidator: func(_ context.Context, cmd *cli.Command) error {
			if cmd.NArg() != 1 {
				return errors.New("inspect takes one file, or - for stdin")
			}
			return nil
		},
		Action: func(_ context.Context, cmd *cli.Command) error {
			return inspect(env, cmd.Args().First(), asJSON)
		},
	}
}

func inspect(env environment, name string, asJSON bool) error {
	input, err := readInput(env, name)
	if err != nil {
		return err
	}
	r, err := examine(input, time.Now())
	if err != nil {
		return fmt.Errorf("inspect %s: %w", name, err)
	}
	if err := r.print(env.stdout, asJSON); err != nil {
		return err
	}
	if failed := r.failed(); failed > 0 {
		return fmt.Errorf("inspect %s: %d of %d checks failed", name, failed, len(r.Checks))
	}
	return nil
}

func readInput(env environment, name string) ([]byte, error) {
	in := env.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, inspectMost+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > inspectMost {
		return nil, fmt.Errorf("%s has more than %s", name, formatSize(inspectMost))
	}
	return b, nil
}

// A report says what an MLS object is. Numbers that may not fit into a double are strings.
type report struct {
	Kind        string        `json:"kind"`
	Framing     string        `json:"framing"`
	Encoding    string        `json:"encoding"`
	Size        int           `json:"size"` // bare
	CipherSuite uint16        `json:"cipher_suite"`
	SuiteName   string        `json:"cipher_suite_name"`
	KeyPackage  *keyPackage   `json:"key_package,omitempty"`
	Welcome     *welcome      `json:"welcome,omitempty"`
	Checks      []checkReport `json:"checks"`
}

type keyPackage struct {
	Ref           string    `json:"ref"`
	Credential    string    `json:"credential"`
	Identity      string    `json:"identity"`
	SignatureKey  string    `json:"signature_key"`
	NotBefore     string    `json:"not_before"`
	NotAfter      string    `json:"not_after"`
	NotBeforeTime time.Time `json:"not_before_time,omitzero"`
	NotAfterTime  time.Time `json:"not_after_time,omitzero"`
	LastResort    bool      `json:"last_resort"`
}

type welcome struct {
	Recipients    []string `json:"recipients"` // refs
	GroupInfoSize int      `json:"encrypted_group_info_size"`
}

type checkReport struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Code   string `json:"code,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// examine finds out what input is. It tries several readings, and takes the first that is an
// MLS object. An object begins with a zero byte, so it is never text itself.
func examine(input []byte, now time.Time) (*report, error) {
	var err error
	for _, reading := range readings(input) {
		var r *report
		if r, err = examineObject(reading.bytes, now); err == nil {
			r.Encoding = reading.name
			return r, nil
		}
	}
	return nil, err
}

type reading struct {
	name  string
	bytes []byte
}

// readings returns what input may mean, the most explicit one last.
func readings(input []byte) []reading {
	all := []reading{{"raw", input}}
	text := strings.Join(strings.Fields(string(input)), "")
	if text == "" {
		return all
	}
	if b, err := base64.RawStdEncoding.DecodeString(standardBase64(text)); err == nil {
		all = append(all, reading{"base64", b})
	}
	if b, err := hex.DecodeString(text); err == nil {
		all = append(all, reading{"hex", b})
	}
	return all
}

// standardBase64 turns the URL-safe alphabet into the standard one, without
// padding.
func standardBase64(text string) string {
	return strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
}

func examineObject(b []byte, now time.Time) (*report, error) {
	kp, kpErr := mls.ReadKeyPackage(b)
	if kpErr == nil {
		return describeKeyPackage(kp, len(b), now), nil
	}
	w, wErr := mls.ReadWelcome(b)
	if wErr == nil {
		return describeWelcome(w, len(b)), nil
	}
	wrongType := &mls.Error{Code: mls.CodeWrongMessageType}
	switch notKeyPackage, notWelcome := errors.Is(kpErr, wrongType), errors.Is(wErr, wrongType); {
	case notKeyPackage && !notWelcome:
		return nil, wErr
	case notKeyPackage == notWelcome && !notWelcome:
		return nil, fmt.Errorf("neither a KeyPackage (%w) nor a Welcome (%w)", kpErr, wErr)
	}
	return nil, kpErr
}

func describeKeyPackage(kp *mls.KeyPackage, size int, now time.Time) *report {
	l := kp.LeafNode.Lifetime
	r := &report{Kind: "KeyPackage", KeyPackage: &keyPackage{
		Ref:          kp.Ref().String(),
		Credential:   kp.LeafNode.Credential.Type.String(),
		Identity:     identity(kp.LeafNode.Credential),
		SignatureKey: hex.EncodeToString(kp.LeafNode.SignatureKey),
		NotBefore:    strconv.FormatUint(l.NotBefore, 10), NotBeforeTime: protocolTime(l.NotBefore),
		NotAfter: strconv.FormatUint(l.NotAfter, 10), NotAfterTime: protocolTime(l.NotAfter),
		LastResort: kp.LastResort(),
	}}
	r.describe(kp.CipherSuite, len(kp.Bytes()), size, kp.Checks())
	r.Checks = append(r.Checks, clockCheck(kp, now))
	return r
}

func describeWelcome(w *mls.Welcome, size int) *report {
	r := &report{Kind: "Welcome", Welcome: &welcome{GroupInfoSize: len(w.EncryptedGroupInfo)}}
	for _, s := range w.Secrets {
		r.Welcome.Recipients = append(r.Welcome.Recipients, s.NewMember.String())
	}
	r.describe(w.CipherSuite, len(w.Bytes()), size, w.Checks())
	return r
}

func (r *report) describe(suite mls.CipherSuite, bare, size int, checks []mls.Check) {
	r.Framing, r.Size = "bare", bare
	if size != bare {
		r.Framing = "mls_message"
	}
	r.CipherSuite, r.SuiteName = uint16(suite), suite.String()
	for _, c := range checks {
		r.Checks = append(r.Checks, reportCheck(c))
	}
}

func reportCheck(c mls.Check) checkReport {
	r := checkReport{Name: c.Name, OK: c.Err == nil}
	if refusal, ok := errors.AsType[*mls.Error](c.Err); ok {
		r.Code, r.Detail = string(refusal.Code), refusal.Error()
	}
	return r
}

// clockCheck says what a server with the default limits would say about the lifetime now. It
// does not check the cipher suite.
func clockCheck(kp *mls.KeyPackage, now time.Time) checkReport {
	limits := delivery.DefaultLimits()
	limits.CipherSuites = []mls.CipherSuite{kp.CipherSuite}
	code, detail, ok := limits.Judge(delivery.Publication(kp), now, now)
	return checkReport{Name: "lifetime is acceptable now", OK: ok, Code: string(code), Detail: detail}
}

// identity returns the identity of the credential for people. It is text of a stranger, so what
// does not print is quoted or shown as bytes.
func identity(c mls.Credential) string {
	switch c.Type {
	case mls.CredentialBasic:
		return printable(c.Identity)
	case mls.CredentialX509:
		return fmt.Sprintf("%d certificates", len(c.Certificates))
	}
	return printable(c.Opaque)
}

func printable(b []byte) string {
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }
	if strings.ContainsFunc(string(b), unprintable) {
		return "0x" + hex.EncodeToString(b)
	}
	return string(b)
}

// protocolTime returns the zero time for a time that no calendar has.
func protocolTime(seconds uint64) time.Time {
	const year9999 = 253402300799
	if seconds > year9999 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}

func (r *report) failed() (n int) {
	for _, c := range r.Checks {
		if !c.OK {
			n++
		}
	}
	return n
}

func (r *report) print(out io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	_, err := io.WriteString(out, r.text())
	return err
}

func (r *report) text() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-15s%s\n", name, fmt.Sprintf(format, args...))
	}
	line("kind", "%s", r.Kind)
	line("framing", "%s, read as %s", map[string]string{"bare": "bare", "mls_message": "in an MLSMessage"}[r.Framing], r.Encoding)
	line("size", "%d bytes bare", r.Size)
	line("cipher suite", "%d %s", r.CipherSuite, r.SuiteName)
	if kp := r.KeyPackage; kp != nil {
		kp.describe(line)
	}
	if w := r.Welcome; w != nil {
		w.describe(line)
	}
	b.WriteString("checks\n")
	for _, c := range r.Checks {
		b.WriteString("  " + c.text() + "\n")
	}
	return b.String()
}

func (kp *keyPackage) describe(line func(name, format string, args ...any)) {
	ref := kp.Ref
	if ref == "" {
		ref = "none, the suite's hash is not known"
	}
	line("ref", "%s", ref)
	line("identity", "%s (%s)", shortened(kp.Identity), kp.Credential)
	line("signature key", "%s", shortened(kp.SignatureKey))
	line("not before", "%s (%s)", formatTime(kp.NotBeforeTime), kp.NotBefore)
	line("not after", "%s (%s)", formatTime(kp.NotAfterTime), kp.NotAfter)
	line("last resort", "%s", map[bool]string{true: "yes", false: "no"}[kp.LastResort])
}

// shortened leaves out the middle of a text that is too long for a terminal. --json has all of
// it.
func shortened(text string) string {
	const most, ends = 300, 64
	if runes := []rune(text); len(runes) > most {
		return fmt.Sprintf("%s… (%d characters, --json shows all) …%s", string(runes[:ends]), len(runes), string(runes[len(runes)-ends:]))
	}
	return text
}

func formatTime(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.RFC3339)
}

func (w *welcome) describe(line func(name, format string, args ...any)) {
	line("group info", "%d bytes, encrypted", w.GroupInfoSize)
	line("recipients", "%d", len(w.Recipients))
	for _, ref := range w.Recipients {
		line("", "%s", ref)
	}
}

func (c checkReport) text() string {
	if c.OK {
		return "✓ " + c.Name
	}
	return fmt.Sprintf("✗ %s: %s (%s)", c.Name, c.Detail, c.Code)
}
