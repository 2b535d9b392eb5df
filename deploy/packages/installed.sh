#!/bin/sh
# After the installation or the upgrade of the package.
set -e
systemd-sysusers /usr/lib/sysusers.d/caddy-tigergraph.conf
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# An edge that runs gets the new binary; its sessions go on.
	systemctl try-restart caddy-tigergraph.service
fi
