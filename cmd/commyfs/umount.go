package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/internal/names"
)

// goneBound is how long a mount may take to list its private files, which it does from memory.
const goneBound = time.Second

func (a *app) newUmountCommand() *cobra.Command {
	var lazy bool
	cmd := &cobra.Command{
		Use:   "umount [--lazy] DIR",
		Short: "Unmount a directory",
		Long:  "Unmount DIR. The process that serves it commits pending changes and exits.",
		Args:  takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return usagef("umount: empty directory name")
			}
			private, err := privateOf(cmd.Context(), args[0], goneBound)
			if errors.Is(err, os.ErrDeadlineExceeded) && !lazy {
				// The question that is still waiting keeps the mount busy.
				return fmt.Errorf("umount %s: the mount does not respond: use --lazy", args[0])
			}
			hung := false
			if lazy {
				hung, err = mountpoint.Detach(args[0])
			} else {
				err = mountpoint.Unmount(args[0], false)
			}
			if hung && err == nil {
				fmt.Fprintf(a.stderr, "commyfs: %s did not respond: requests that were waiting have failed\n", names.Show(args[0]))
			}
			if private.Total > 0 && err == nil {
				fmt.Fprintf(a.stderr, "commyfs: private files of the mount are lost: %s\n", private)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&lazy, "lazy", false, "detach the mount even if it is in use; its users can finish, or get errors if it does not respond")
	return cmd
}
