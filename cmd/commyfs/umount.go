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

// goneBound is how long a mount may take to say what goes with it; it does so from memory.
const goneBound = time.Second

func (a *app) newUmountCommand() *cobra.Command {
	var lazy bool
	cmd := &cobra.Command{
		Use:   "umount [--lazy] DIR",
		Short: "Unmount",
		Long:  "Unmount DIR. The process that mounted it commits what is left and ends.",
		Args:  takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return usagef("umount: the directory's name is empty")
			}
			private, err := privateOf(cmd.Context(), args[0], goneBound)
			if errors.Is(err, os.ErrDeadlineExceeded) && !lazy {
				// What still asks for them keeps the mount busy.
				return fmt.Errorf("umount %s: it does not answer: use --lazy", args[0])
			}
			hung := false
			if lazy {
				hung, err = mountpoint.Detach(args[0])
			} else {
				err = mountpoint.Unmount(args[0], false)
			}
			if hung && err == nil {
				fmt.Fprintf(a.stderr, "commyfs: %s did not answer: who waited for it has an error now\n", names.Show(args[0]))
			}
			if private.Total > 0 && err == nil {
				fmt.Fprintf(a.stderr, "commyfs: gone with the mount, which alone had them: %s\n", private)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&lazy, "lazy", false, "also if it is in use: take it out of the tree now, and let its users finish; if it does not answer, they get errors")
	return cmd
}
