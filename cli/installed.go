package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// What the package of this program installs. The unit of the service names the
// same places.
const (
	// SettingsFile has the settings of the service, one NAME=value a line.
	SettingsFile   = "/etc/welcomed/welcomed.env"
	stateDirectory = "/var/lib/welcomed"
)

// settings are those of a service that is installed on this machine. All commands use them, so
// that they ask the server that runs here, about its database. The environment and the command
// line override them. The zero value is that of a machine without an installed service.
type settings struct {
	file   string
	values map[string]string
	closed bool                        // this user may not read the file
	above  func(string) (string, bool) // what is stronger; nil: nothing
}

// readSettings reads the file, if there is one. Only root and the service can read it, because
// it may have secrets. For other users there are no settings.
func readSettings(file string) (settings, error) {
	if file == "" {
		return settings{}, nil
	}
	b, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return settings{}, nil
	case errors.Is(err, fs.ErrPermission):
		return settings{file: file, closed: true}, nil
	case err != nil:
		return settings{}, err
	}
	values, err := parseSettings(string(b))
	if err != nil {
		return settings{}, fmt.Errorf("%s, %w", file, err)
	}
	return settings{file: file, values: values}, nil
}

// parseSettings reads a file as systemd reads an EnvironmentFile. It refuses what systemd would
// read in a surprising way, such as a quote inside a value, or a line that goes on in the next
// one.
func parseSettings(text string) (map[string]string, error) {
	values := map[string]string{}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if !found || !variableName(name) {
			return nil, fmt.Errorf("line %d: it is not NAME=value", number)
		}
		value, ok := unquote(strings.TrimSpace(value))
		if !ok {
			return nil, fmt.Errorf("line %d: the value of %s has a quote or a backslash in it; put all of it in quotes of the other kind, or in a file that %s_FILE names if it is a secret",
				number, name, name)
		}
		values[name] = value
	}
	return values, nil
}

func variableName(s string) bool {
	return s != "" && (s[0] < '0' || s[0] > '9') && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// unquote removes the quotes around a value. Between single quotes systemd changes nothing.
// Between double quotes and without quotes it does.
func unquote(s string) (string, bool) {
	quote, special := "", `'"\`
	if len(s) >= 2 && s[0] == s[len(s)-1] && (s[0] == '\'' || s[0] == '"') {
		quote = s[:1]
		s = s[1 : len(s)-1]
		special = map[string]string{`'`: `'`, `"`: `"\`}[quote]
	}
	return s, !strings.ContainsAny(s, special)
}

// over returns lookup, with the settings for variables that lookup does not have. An empty
// variable counts as none, as everywhere. Variables that are not of this program are not read:
// systemd passes them to the service.
func (s *settings) over(lookup func(string) (string, bool)) func(string) (string, bool) {
	if s.values == nil {
		return lookup
	}
	s.above = lookup
	return func(name string) (string, bool) {
		if value, ok := lookup(name); ok && value != "" {
			return value, true
		}
		if name == "STATE_DIRECTORY" {
			return stateDirectory, true
		}
		value, ok := s.values[name]
		return value, ok && strings.HasPrefix(name, envName(""))
	}
}

// origin says where a variable has its value from: the environment, which is said by its name
// alone, or this file.
func (s settings) origin(name string) string {
	if s.above == nil {
		return name
	}
	if value, _ := s.above(name); value != "" {
		return name
	}
	return name + " in " + s.file
}

// names returns the names of the settings, as in an environment.
func (s settings) names() (names []string) {
	for name := range s.values {
		names = append(names, name)
	}
	return names
}

// hint adds to an error of a command that has found no server what may help.
func (s settings) hint(err error) error {
	if s.closed && errors.Is(err, errNoServer) {
		return fmt.Errorf("%w; the settings of the server that is installed here, %s, are closed to you: be root", err, s.file)
	}
	return err
}
