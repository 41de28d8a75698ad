package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/urfave/cli/v3"

	"welcomed/delivery"
	"welcomed/mls"
)

// giveCommand gives a KeyPackage back to the device that made it.
func giveCommand(env environment) *cli.Command {
	db, socket := defaultDB(env), socketPath{}
	return &cli.Command{
		Name:      "give",
		Usage:     "give a KeyPackage back to its device, which another has published first",
		ArgsUsage: "REF USER/DEVICE",
		Description: "After a restore, another device may have published the KeyPackages of a device, which are then refused to it as not_yours.\n" +
			"This command gives one back. It belongs to its device again, off the shelf, and a new Welcome can match it. Welcomes\n" +
			"that were posted for the other device end, and their posters see that. With --credential-identity nobody needs this.",
		Flags: []cli.Flag{
			textFlag("db", &db, "the `FILE` of the server that runs"),
			socketFlag(&socket, "the `PATH` of the server's admin socket"),
		},
		ArgValidator: func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Len() != 2 {
				return errors.New("give takes the ref of a KeyPackage, and USER/DEVICE")
			}
			return nil
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			ref, err := mls.ParseKeyPackageRef(cmd.Args().Get(0))
			if err != nil {
				return fmt.Errorf("%q is not the ref of a KeyPackage", cmd.Args().Get(0))
			}
			user, name, _ := strings.Cut(cmd.Args().Get(1), "/")
			to := delivery.DeviceID{User: delivery.UserID(user), Name: name}
			if err := to.Valid(); err != nil {
				return fmt.Errorf("%q is not USER/DEVICE: %w", cmd.Args().Get(1), err)
			}
			path := fmt.Sprintf("/users/%s/devices/%s/key-packages/%s", url.PathEscape(user), url.PathEscape(name), ref)
			return newOperator(env, socket, db).ask(ctx, http.MethodPut, path, nil, nil)
		},
	}
}
