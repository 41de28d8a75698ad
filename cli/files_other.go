//go:build !unix

package cli

func openFiles() int { return 0 }

func mayWrite(string) error { return nil }
