//go:build unix

package environment

import "golang.org/x/sys/unix"

// checkWritable says why this user can make nothing in a folder.
func checkWritable(folder string) error { return unix.Access(folder, unix.W_OK|unix.X_OK) }
