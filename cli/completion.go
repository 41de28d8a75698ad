package cli

import (
	"bufio"
	"context"
	"embed"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"
)

// The scripts ask "welcomed completion words WORD…" what the last of these words
// could become. The scripts of the library put the words of the line through
// eval, and know no values of flags.
//
//go:embed completion
var completionScripts embed.FS

var shells = []struct{ name, file, usage string }{
	{"bash", "welcomed.bash", "for bash: eval \"$(welcomed completion bash)\" in ~/.bashrc, or the output in /etc/bash_completion.d/welcomed"},
	{"zsh", "welcomed.zsh", "for zsh: the output as _welcomed in a directory of $fpath"},
	{"fish", "welcomed.fish", "for fish: the output in ~/.config/fish/completions/welcomed.fish"},
}

func completionCommand(env environment) *cli.Command {
	command := &cli.Command{
		Name:   "completion",
		Usage:  "print a script that completes command lines, for a shell",
		Action: noCommand,
		Commands: []*cli.Command{{
			Name:            "words",
			Usage:           "what the last word can become; the scripts ask this",
			Hidden:          true,
			SkipFlagParsing: true,
			ArgValidator:    func(context.Context, *cli.Command) error { return nil },
			Action: func(_ context.Context, cmd *cli.Command) error {
				return complete(root(env), cmd.Args().Slice()).write(env.stdout)
			},
		}},
	}
	for _, shell := range shells {
		command.Commands = append(command.Commands, &cli.Command{
			Name:  shell.name,
			Usage: shell.usage,
			Action: func(context.Context, *cli.Command) error {
				script, err := completionScripts.ReadFile("completion/" + shell.file)
				if err == nil {
					_, err = env.stdout.Write(script)
				}
				return err
			},
		})
	}
	return command
}

// A completion says what a word can become.
type completion struct {
	candidates []candidate
	paths      string // what besides: pathsFiles, pathsDirectories or none
}

type candidate struct{ word, about string }

const (
	pathsFiles       = "files"
	pathsDirectories = "directories"
)

// write writes a line that says which paths are wanted, and a line for each candidate, with its
// description after a tab.
func (c completion) write(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, c.paths)
	for _, one := range c.candidates {
		fmt.Fprintf(b, "%s\t%s\n", one.word, one.about)
	}
	return b.Flush()
}

func (c *completion) offer(start, word, about string) {
	if strings.HasPrefix(word, start) {
		c.candidates = append(c.candidates, candidate{word, about})
	}
}

// complete says what the last of words can become; it may be empty. The words before it are the
// command line so far.
func complete(command *cli.Command, words []string) completion {
	if len(words) == 0 {
		words = []string{""}
	}
	last := len(words) - 1
	var wanting cli.Flag // whose value is next
	onlyArguments := false
	for _, word := range words[:last] {
		switch {
		case wanting != nil:
			wanting = nil
		case onlyArguments:
		case word == "--":
			onlyArguments = true
		case strings.HasPrefix(word, "-"):
			wanting = flagAlone(command, word)
		case command.Command(word) != nil:
			command = command.Command(word)
		}
	}
	word := words[last]
	switch name, value, given := strings.Cut(word, "="); {
	case wanting != nil:
		return completeValue(wanting, "", word)
	case onlyArguments:
		return completeArgument(command, word)
	case strings.HasPrefix(word, "-") && given:
		return completeValue(flagOf(command, name), name+"=", value)
	case strings.HasPrefix(word, "-"):
		return completeFlag(command, word)
	}
	return completeArgument(command, word)
}

func flagOf(command *cli.Command, word string) cli.Flag {
	name := strings.TrimLeft(word, "-")
	for _, flag := range command.Flags {
		if slices.Contains(flag.Names(), name) {
			return flag
		}
	}
	return nil
}

// flagAlone returns the flag that word is, if the next word is its value.
func flagAlone(command *cli.Command, word string) cli.Flag {
	flag := flagOf(command, word)
	if _, isBool := flag.(*cli.BoolFlag); isBool {
		return nil
	}
	return flag
}

func completeFlag(command *cli.Command, start string) (c completion) {
	for _, flag := range command.Flags {
		if !visible(flag) {
			continue
		}
		c.offer(start, "--"+flag.Names()[0], aboutFlag(flag))
	}
	c.offer(start, "--help", "show help")
	return c
}

// aboutFlag is its usage in plain text.
func aboutFlag(flag cli.Flag) string {
	documented, ok := flag.(cli.DocGenerationFlag)
	if !ok {
		return ""
	}
	return strings.ReplaceAll(documented.GetUsage(), "`", "")
}

// placeholder is what the usage of a flag, or of arguments, calls a value.
func placeholder(flag cli.Flag) string {
	documented, ok := flag.(cli.DocGenerationFlag)
	if !ok {
		return ""
	}
	_, rest, _ := strings.Cut(documented.GetUsage(), "`")
	name, _, _ := strings.Cut(rest, "`")
	return name
}

// completeValue is for a flag that may be nil; before is what stands in front of
// the value in the same word.
func completeValue(flag cli.Flag, before, start string) completion {
	c := completion{paths: pathsFor(placeholder(flag))}
	for _, word := range wordsOf(flag) {
		c.offer(before+start, before+word, "")
	}
	return c
}

func wordsOf(flag cli.Flag) []string {
	switch f := flag.(type) {
	case *cli.BoolFlag:
		return []string{"true", "false"}
	case *cli.GenericFlag:
		if choice, ok := f.Value.(choiceOf); ok {
			return choice.words
		}
	}
	return nil
}

// pathsFor says which paths a value can be, by the word that the help has for the value.
func pathsFor(placeholder string) string {
	for _, kind := range []struct{ word, paths string }{
		{"DIR", pathsDirectories}, {"FILE", pathsFiles}, {"PATH", pathsFiles}, {"BACKUP", pathsFiles},
	} {
		if strings.Contains(placeholder, kind.word) {
			return kind.paths
		}
	}
	return ""
}

func completeArgument(command *cli.Command, start string) completion {
	c := completion{paths: pathsFor(command.ArgsUsage)}
	for _, below := range command.Commands {
		if !below.Hidden {
			c.offer(start, below.Name, below.Usage)
		}
	}
	return c
}
