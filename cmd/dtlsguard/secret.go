package main

import (
	"crypto/rand"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/regular"
)

func newSecret() *cobra.Command {
	cmd := &cobra.Command{
		Use: "secret", Short: "Generate, identify and rotate cookie secrets", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	generate := &cobra.Command{
		Use: "generate", Short: "Print a new secret: 64 hexadecimal digits", Args: noArgs,
		Example: "  umask 077; dtlsguard secret generate > /etc/dtlsguard.secret",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := cookie.NewSecret(rand.Reader)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), s.Hex())
			return err
		},
	}
	cmd.AddCommand(generate, newFingerprint(), newRotate())
	return cmd
}

func newFingerprint() *cobra.Command {
	var file, control string
	cmd := &cobra.Command{
		Use: "fingerprint", Short: "Print the fingerprint of a secret", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				s, err := askStatus(cmd.Context(), control)
				if err != nil {
					return err
				}
				for _, x := range s.Secrets {
					fmt.Fprintln(cmd.OutOrStdout(), x.Fingerprint+whose(s.Secrets, &x))
				}
				return nil
			}
			list, err := readSecrets(file)
			if err != nil {
				return err
			}
			for _, s := range list {
				fmt.Fprintln(cmd.OutOrStdout(), s.Fingerprint())
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "secret-file", "", "the file to read (default: ask the running guard)")
	cmd.Flags().StringVar(&control, "control", defaultAsk(), "the guard's unix socket")
	return cmd
}

// readSecrets reads a secret file.
func readSecrets(file string) ([]cookie.Secret, error) {
	f, err := regular.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := cookie.ParseSecrets(f)
	if err != nil {
		return nil, hint.Add(fmt.Errorf("secret file %s: %w", file, err), "make a secret: dtlsguard secret generate")
	}
	return list, nil
}

func newRotate() *cobra.Command {
	var control string
	cmd := &cobra.Command{
		Use: "rotate", Short: "Make the running guard replace its secret now", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := ask[[]frontend.SecretStatus](cmd.Context(), control, "POST", "/rotate")
			if err != nil {
				return err
			}
			for _, x := range *all {
				fmt.Fprintf(cmd.OutOrStdout(), "key ID %d, fingerprint %s%s\n", x.KeyID, x.Fingerprint, whose(*all, &x))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&control, "control", defaultAsk(), "the guard's unix socket")
	return cmd
}
