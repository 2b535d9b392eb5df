# Caddy with this plugin, configured by environment variables:
#
#	docker build -t caddy-tigergraph .
#	docker run -p 80:80 -p 443:443 -p 443:443/udp -v caddy-data:/data \
#		-e SITE=graph.example.com -e TIGERGRAPH_NODES="m1 m2 m3" caddy-tigergraph
#
# The variables are in docs/deployment.md. It needs BuildKit, which Docker uses by
# itself since version 23.

# Where the official images come from, and which Caddy.
ARG CADDY_IMAGE=caddy
ARG CADDY_VERSION=2.11.9

FROM --platform=$BUILDPLATFORM ${CADDY_IMAGE}:${CADDY_VERSION}-builder AS builder
ARG CADDY_VERSION
# A published version of the plugin, such as 1.0.0, as the image's tag has it. Without
# one it is built from this folder.
ARG PLUGIN_VERSION=
ARG TARGETOS
ARG TARGETARCH
ARG TARGETVARIANT
WORKDIR /src
# Only what the binary is made of: nothing else of this folder builds it anew.
COPY go.mod go.sum *.go ./
COPY command command
COPY internal internal
# The right to bind low ports is the binary's, since its user is not root.
RUN --mount=type=cache,target=/root/.cache/go-build --mount=type=cache,target=/go/pkg/mod \
	plugin=github.com/caddy-tigergraph/caddy-tigergraph && \
	if [ -n "$PLUGIN_VERSION" ]; then with="$plugin@v${PLUGIN_VERSION#v}"; else with="$plugin@v0.0.0=/src"; fi && \
	XCADDY_SETCAP=0 GOOS=$TARGETOS GOARCH=$TARGETARCH GOARM=${TARGETVARIANT#v} \
		xcaddy build "v$CADDY_VERSION" --with "$with" --output /out/usr/bin/caddy && \
	setcap cap_net_bind_service=+ep /out/usr/bin/caddy

FROM ${CADDY_IMAGE}:${CADDY_VERSION} AS runtime
COPY --from=builder /out /
COPY deploy/docker/Caddyfile /etc/caddy/Caddyfile

# In one layer, so that Caddy's own binary, which was replaced, is not in it.
FROM scratch
COPY --from=runtime / /
ARG CADDY_VERSION
ARG PLUGIN_VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="caddy-tigergraph" \
	org.opencontainers.image.description="Caddy as the edge in front of a TigerGraph cluster" \
	org.opencontainers.image.source="https://github.com/caddy-tigergraph/caddy-tigergraph" \
	org.opencontainers.image.documentation="https://github.com/caddy-tigergraph/caddy-tigergraph/blob/main/docs/deployment.md" \
	org.opencontainers.image.licenses="Apache-2.0" \
	org.opencontainers.image.base.name="docker.io/library/caddy:${CADDY_VERSION}" \
	org.opencontainers.image.version="${PLUGIN_VERSION}" \
	org.opencontainers.image.revision="${REVISION}"
# GOGC: a proxy throws away much and holds little, see docs/performance.md.
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	GOGC=400 \
	XDG_CONFIG_HOME=/config \
	XDG_DATA_HOME=/data
# Certificates, and the key of the cookies.
VOLUME ["/data", "/config"]
WORKDIR /srv
EXPOSE 80 443 443/udp
USER 65532:65532
# Whether Caddy answers, not whether all nodes do: no restart of the edge would
# mend those.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 \
	CMD ["caddy", "tigergraph", "status", "--alive"]
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "tigergraph"]
