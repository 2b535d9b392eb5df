package environment

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/settings"
)

// CheckKey wants a cookie's key that nobody can guess.
func CheckKey(value string) error {
	if settings.LooksUnexpanded(value) {
		return errors.New("it must be the key itself, for nothing expands a placeholder, a shell's variable or command in it; to read the key from a file, set COOKIE_KEY_FILE to its path (for the previous key PREVIOUS_COOKIE_KEY_FILE)")
	}
	if len(value) < settings.ShortestKey {
		return fmt.Errorf("it has %d characters, and must have at least %d; make one with 'openssl rand -hex 32'", len(value), settings.ShortestKey)
	}
	return nil
}

// CheckKeyFile wants a file that holds a cookie's key.
func CheckKeyFile(value string) error {
	if err := CheckFiles(1)(value); err != nil {
		return err
	}
	content, err := os.ReadFile(strings.TrimSpace(value))
	if err != nil {
		return err
	}
	if err := CheckKey(strings.TrimRight(string(content), "\r\n")); err != nil {
		return fmt.Errorf("the key in the file '%s': %w", value, err)
	}
	return nil
}

// CheckOnlyKeyFile refuses two keys where one is used.
func CheckOnlyKeyFile(value string) error {
	if os.Getenv("COOKIE_KEY") != "" {
		return errors.New("COOKIE_KEY is set too: set one of the two")
	}
	return CheckKeyFile(value)
}
