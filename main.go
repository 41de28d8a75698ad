// Command welcomed keeps MLS KeyPackages and Welcomes for devices that are
// offline.
package main

import (
	"context"
	"os"

	"welcomed/cli"
)

func main() {
	os.Exit(cli.Run(context.Background(), os.Args, os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}
