package environment

import (
	"fmt"
	"path"
)

// CheckSocket refuses a socket that this user cannot make: by itself Caddy would say
// that the permission is denied, and not whose fault that is.
func CheckSocket(file string) error {
	folder := path.Dir(file)
	if err := checkWritable(folder); err != nil {
		return fmt.Errorf("no socket can be made in the folder '%s': %w; in the image, take /config/caddy", folder, err)
	}
	return nil
}
