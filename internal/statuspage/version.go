package statuspage

import (
	"runtime/debug"
	"strings"
)

// VersionOf returns the version of a module of this binary.
func VersionOf(path string) string {
	build, known := debug.ReadBuildInfo()
	if !known {
		return "unknown"
	}
	for _, module := range append(build.Deps, &build.Main) {
		if module.Path != path {
			continue
		}
		if version := strings.Trim(module.Version, "()"); version != "" {
			return version
		}
	}
	return "unknown"
}
