// Command welcomed keeps MLS KeyPackages and Welcomes for devices that are
// offline.
package main

import (
	"context"
	"os"

	"welcomed/cli"
)

func main() {
	os.Exit(cli.RunInstalled(context.Background(), os.Args, cli.SettingsFile, os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}
