package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/names"
)

func (a *app) newKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Create, list and revoke API keys",
		Long: "Create, list and revoke the API keys of clients on other machines. Only the server's own user, on its socket, and keys\n" +
			"with the admin right may do this.",
		Args: cobra.ArbitraryArgs, // see checkCommand
		RunE: func(*cobra.Command, []string) error { return usagef("key: missing command: create, list or revoke") },
	}
	cmd.AddCommand(a.newKeyCreateCommand(), a.newKeyListCommand(), a.newKeyRevokeCommand())
	return cmd
}

// rightNames are in display order.
var rightNames = []struct {
	name  string
	right commyfs.Rights
}{
	{"read", commyfs.RightRead},
	{"write", commyfs.RightWrite},
	{"create", commyfs.RightCreate},
	{"delete", commyfs.RightDelete},
	{"admin", commyfs.RightAdmin},
}

func parseRights(words []string) (commyfs.Rights, error) {
	var out commyfs.Rights
	for _, word := range words {
		found := commyfs.Rights(0)
		for _, r := range rightNames {
			if r.name == word {
				found = r.right
			}
		}
		if found == 0 {
			return 0, usagef("--rights: unknown right %q: must be read, write, create, delete or admin", word)
		}
		out |= found
	}
	return out, nil
}

func formatRights(rights commyfs.Rights) []string {
	out := []string{}
	for _, r := range rightNames {
		if rights&r.right != 0 {
			out = append(out, r.name)
		}
	}
	return out
}

type keyCreateOptions struct {
	common
	tenants, rights []string
}

func (a *app) newKeyCreateCommand() *cobra.Command {
	var o keyCreateOptions
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create an API key and print it",
		Long:  "Create an API key and print it. It cannot be shown again: the server stores only a hash of it.",
		Args:  takes(1, 1),
		RunE:  func(cmd *cobra.Command, args []string) error { return a.runKeyCreate(cmd.Context(), &o, args[0]) },
	}
	o.common.addFlags(cmd.Flags())
	cmd.Flags().StringArrayVar(&o.tenants, "tenant", nil, "`pattern` of tenants the key gives access to, such as plant-*; repeatable (default: all)")
	cmd.Flags().StringSliceVar(&o.rights, "rights", []string{"read", "write", "create", "delete"}, "`rights` of the key: read, write, create, delete, admin")
	return cmd
}

func (a *app) runKeyCreate(ctx context.Context, o *keyCreateOptions, name string) error {
	rights, err := parseRights(o.rights)
	if err != nil {
		return err
	}
	for _, pattern := range o.tenants {
		if strings.Contains(pattern, "/") {
			return usagef("--tenant %q: must be a tenant's name or a pattern, without a slash", pattern)
		}
	}
	return a.withClient(ctx, &o.common, "key", func(c *commyfs.Client) error {
		key, err := c.CreateKey(ctx, name, rights, o.tenants...)
		if err != nil {
			return fmt.Errorf("key %q: %w", name, needsAdmin(err))
		}
		if _, err = fmt.Fprintln(a.stdout, key); err != nil {
			return fmt.Errorf("key %q was created but could not be printed, so revoke it: %w", name, err)
		}
		return nil
	})
}

// needsAdmin explains a denied request.
func needsAdmin(err error) error {
	if errors.Is(err, commyfs.ErrDenied) {
		return fmt.Errorf("%w: only the server's own user and keys with the admin right may manage keys", err)
	}
	return err
}

type keyListOptions struct {
	common
	output
}

func (a *app) newKeyListCommand() *cobra.Command {
	var o keyListOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the API keys",
		Args:  takes(0, 0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.runKeyList(cmd.Context(), &o) },
	}
	o.common.addFlags(cmd.Flags())
	o.output.addFlags(cmd.Flags())
	return cmd
}

func (a *app) runKeyList(ctx context.Context, o *keyListOptions) error {
	return a.withClient(ctx, &o.common, "key", func(c *commyfs.Client) error {
		keys, err := c.Keys(ctx)
		if err != nil {
			return needsAdmin(err)
		}
		for _, k := range keys {
			rights := formatRights(k.Rights)
			if o.json() {
				err = writeJSON(a.stdout, struct {
					commyfs.KeyInfo
					RawTenants [][]byte `json:"tenants_base64,omitempty"` // if one is not valid UTF-8
					Rights     []string `json:"rights"`
					Created    string   `json:"created"`
				}{k, rawList(k.Tenants), rights, formatNano(k.Created)})
			} else {
				tenants := "all tenants"
				if len(k.Tenants) > 0 {
					tenants = strings.Join(k.Tenants, " ")
				}
				_, err = fmt.Fprintf(a.stdout, "%-16s %s  %s  %s\n", names.Show(k.Name), formatNano(k.Created), strings.Join(rights, ","), names.Show(tenants))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

type keyRevokeOptions struct {
	common
}

func (a *app) newKeyRevokeCommand() *cobra.Command {
	var o keyRevokeOptions
	cmd := &cobra.Command{
		Use:        "revoke NAME",
		SuggestFor: []string{"delete", "remove", "rm"},
		Short:      "Revoke an API key and close all sessions that use it",
		Args:       takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return a.withClient(ctx, &o.common, "key", func(c *commyfs.Client) error {
				if err := c.RevokeKey(ctx, args[0]); err != nil {
					return fmt.Errorf("key %q: %w", args[0], needsAdmin(err))
				}
				return nil
			})
		},
	}
	o.common.addFlags(cmd.Flags())
	return cmd
}
