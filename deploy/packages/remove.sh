#!/bin/sh
# Before the package goes, but not before another version of it comes: "remove" is
# Debian's word for that, and 0 is RPM's.
set -e
if [ "$1" = remove ] || [ "$1" = 0 ]; then
	if [ -d /run/systemd/system ]; then
		systemctl disable --now caddy-tigergraph.service
	fi
fi
