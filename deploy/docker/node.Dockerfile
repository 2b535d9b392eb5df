# A stand-in for a TigerGraph node, for the demo in compose.yaml only.
ARG GO_IMAGE=golang
ARG GO_VERSION=1.26-alpine

FROM --platform=$BUILDPLATFORM ${GO_IMAGE}:${GO_VERSION} AS builder
ARG TARGETOS
ARG TARGETARCH
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/root/.cache/go-build --mount=type=cache,target=/go/pkg/mod \
	CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -o /out/tgnode ./cmd/tgnode

FROM scratch
COPY --from=builder /out/tgnode /tgnode
USER 65532:65532
EXPOSE 14240
ENTRYPOINT ["/tgnode"]
