{{- define "caddy-tigergraph.caddyfile" -}}
# The edge in Kubernetes. SITE and TIGERGRAPH_SERVICE come from the ConfigMap, and
# the adapter "tigergraph" sees to it that they are there. The cookie's keys come
# from the Secret. They are read when the edge starts, which it does not without.

(cookie_key_unset) {
	secret {env.COOKIE_KEY}
}
(cookie_key_set) {
	import previous_cookie_key_{$PREVIOUS_COOKIE_KEY?}
}
(previous_cookie_key_unset) {
	secret {env.COOKIE_KEY}
}
(previous_cookie_key_set) {
	secret {env.COOKIE_KEY} {env.PREVIOUS_COOKIE_KEY}
}

# Caddy itself hides cookies and Authorization in its log, but knows nothing of the
# headers in which GSQL's clients and TigerGraph's MCP server keep their credentials,
# nor of secrets in a query.
(no_secrets) {
	format filter {
		request>headers>Gsql-Cookie delete
		request>headers>X-Tg-Username delete
		request>headers>X-Tg-Password delete
		request>headers>X-Tg-Secret delete
		request>headers>X-Tg-Token delete
		request>headers>X-Tg-Api-Token delete
		request>headers>X-Tg-Jwt-Token delete
		resp_headers>Set-Gsql-Cookie delete
		resp_headers>Set-GSQL-Cookie delete
		headers>Set-Gsql-Cookie delete
		request>uri query {
			replace secret REDACTED
			replace token REDACTED
			replace code REDACTED
		}
	}
}

{
	persist_config off
	skip_install_trust
	log {
		import no_secrets
	}
	metrics

	# A container without privileges can count on high ports only; the Service has
	# the low ones.
	http_port 8080
	https_port 8443

	# HTTP/3 would be announced at the port 8443, which no client reaches. Over HTTP/2,
	# Caddy ends the whole connection for a request with more than 16 KiB of header,
	# which all cookies of a domain may have. And it gives up a request's body that
	# pauses for a minute, as an upload may that is computed while it is sent.
	servers {
		protocols h1 h2
		max_header_size 64KiB
		timeouts {
			read_body_idle 1h
		}
	}

	# A pod that ends is told to first, and gets new connections for a while longer.
	# Its requests have the grace period to end. Both together must be shorter than
	# terminationGracePeriodSeconds.
	shutdown_delay {{ .Values.shutdownDelay }}s
	grace_period {{ .Values.gracePeriod }}s
{{- with .Values.globalOptions }}
{{ trim . | replace "\n" "\n\t" | printf "\t%s" }}
{{- end }}
}

{$SITE} {
{{- if include "caddy-tigergraph.tls" . }}
	# From the Secret: replicas that each asked an authority would answer each
	# other's challenges.
	tls /tls/tls.crt /tls/tls.key
{{ end }}
	# Nodes do not compress for a proxy. What is static is compressed here.
	@scripts path *.js *.mjs *.css *.html *.svg *.wasm
	encode @scripts zstd gzip
{{ if .Values.tigergraph.nodes }}
	tigergraph {{ join " " .Values.tigergraph.nodes }} {
{{- else }}
	tigergraph {
		# The headless service answers with the addresses of the pods.
		dynamic a {
			name {$TIGERGRAPH_SERVICE}
			port 14240
			refresh 5s
		}
{{- end }}
{{- range .Values.tigergraph.standby }}
		standby {{ .name }} {{ join " " .nodes }}
{{- end }}
{{- with .Values.tigergraph.options }}
{{ trim . | replace "\n" "\n\t\t" | printf "\t\t%s" }}
{{- end }}
		cookie {
			# Every replica has the same key, or each would move the others' users.
			import cookie_key_{$COOKIE_KEY?}
{{- with .Values.tigergraph.cookieOptions }}
{{ trim . | replace "\n" "\n\t\t\t" | printf "\t\t\t%s" }}
{{- end }}
		}
	}

	log
	log_append node {http.tigergraph.node}
	log_append service {http.tigergraph.service}
	log_append affinity {http.tigergraph.affinity}
{{- with .Values.siteDirectives }}

{{ trim . | replace "\n" "\n\t" | printf "\t%s" }}
{{- end }}
}

# For Kubernetes and Prometheus; the Service does not have it.
http://:9180 {
	metrics /metrics

	# Nodes that are down are no reason to take the edge away, let alone to kill it.
	respond /alive 200

	@leaving vars {http.shutting_down} true
	handle /ready {
		respond @leaving "leaving" 503
		respond 200
	}
}
{{ end -}}
