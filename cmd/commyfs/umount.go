package main

import (
	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs/fs/mountpoint"
)

func (a *app) newUmountCommand() *cobra.Command {
	var lazy bool
	cmd := &cobra.Command{
		Use:   "umount [--lazy] DIR",
		Short: "Unmount",
		Long:  "Unmount DIR. The process that mounted it commits what is left and ends.",
		Args:  takes(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			if args[0] == "" {
				return usagef("umount: the directory's name is empty")
			}
			return mountpoint.Unmount(args[0], lazy)
		},
	}
	cmd.Flags().BoolVar(&lazy, "lazy", false, "also if it is in use: take it out of the tree now, and let its users finish")
	return cmd
}
