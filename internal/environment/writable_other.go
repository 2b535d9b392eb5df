//go:build !unix

package environment

import "os"

// checkWritable says why nobody can make anything in a folder; whether this user can is
// not to be asked here.
func checkWritable(folder string) error {
	_, err := os.Stat(folder)
	return err
}
