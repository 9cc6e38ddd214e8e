# Pin both images by digest in releases, for instance
#   --build-arg GO_IMAGE=docker.io/library/golang:1.26@sha256:...
# The same source, toolchain and VERSION give the same binary, byte for byte.
ARG GO_IMAGE=docker.io/library/golang:1.26
ARG BASE_IMAGE=gcr.io/distroless/static:nonroot

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ARG TARGETOS
ARG TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X main.version=$VERSION" -o /out/token-sidecar ./cmd/token-sidecar

FROM ${BASE_IMAGE}
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=""
LABEL org.opencontainers.image.title="token-sidecar" \
      org.opencontainers.image.description="Puts OAuth tokens on an app's requests" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.source="$SOURCE"
COPY --from=build /out/token-sidecar /token-sidecar
# By number: Kubernetes cannot tell from a name that it is not root.
USER 65532:65532
# Kubernetes does not look at it; Docker and Podman do. There is no shell to ask with.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/token-sidecar", "healthcheck"]
ENTRYPOINT ["/token-sidecar"]
