package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v3"
)

// A secret is the value of a flag that is never shown. In the environment it is WELCOMED_X, or
// it is in the file that WELCOMED_X_FILE names, as container platforms provide secrets.
type secret struct{ p *string }

// secretFlag is a flag whose value is a secret. It is better in the environment or in a file
// than on the command line, which every user of the machine can read.
func secretFlag(name string, p *string, usage string) cli.Flag {
	return valueFlag(name, secret{p}, usage+"; better by "+envName(name)+"_FILE, which names a file")
}

func (s secret) Set(text string) error {
	*s.p = text
	return nil
}

func (s secret) String() string { return "" }
func (s secret) Get() any       { return *s.p }

func secretOf(flag cli.Flag) (secret, bool) {
	generic, ok := flag.(*cli.GenericFlag)
	if !ok {
		return secret{}, false
	}
	s, ok := generic.Value.(secret)
	return s, ok
}

// largestSecret is how much of a file is read.
const largestSecret = 64 << 10

// fromEnvironment sets the secret, and returns where it has found it.
func (s secret) fromEnvironment(env environment, flag string) (origin string, err error) {
	name := envName(flag)
	value, _ := env.lookup(name)
	file, _ := env.lookup(name + "_FILE")
	switch {
	case value != "" && file != "":
		return "", fmt.Errorf("%s and %s_FILE are both set", name, name)
	case file == "":
		*s.p = value
		if value == "" {
			return "", nil
		}
		return name, nil
	}
	text, err := readSecret(file)
	if err != nil {
		return "", fmt.Errorf("%s_FILE: %w", name, err)
	}
	*s.p = text
	return "file " + file, nil
}

// readSecret returns the content of a file, without the end of line that editors and echo add.
func readSecret(file string) (string, error) {
	info, err := os.Stat(file)
	if err == nil && info.Size() > largestSecret {
		return "", fmt.Errorf("%s is too large for a secret", file)
	}
	b, err := os.ReadFile(file)
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return "", fmt.Errorf("%s: %w", failed.Path, failed.Err)
	}
	if err != nil {
		return "", err
	}
	text := strings.TrimRight(string(b), "\r\n")
	if text == "" {
		return "", fmt.Errorf("%s is empty", file)
	}
	return text, nil
}
