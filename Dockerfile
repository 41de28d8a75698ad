# A static binary in an image with nothing else: no shell, no packages.
#
#   docker build -t welcomed --build-arg VERSION="$(git describe --tags --always)" .
#   docker run -d --name welcomed -p 127.0.0.1:9420:9420 -v welcomed:/data welcomed
#   docker exec welcomed /welcomed token add --user alice
#
# Instead of the last line, a back end's token can be a secret of the platform:
# WELCOMED_SERVICE_TOKEN_FILE names the file that it is in.
#
# The API asks for tokens. It has no TLS: publish it on loopback and put a proxy in
# front, as deploy/compose.yaml does. Metrics and the status page are on the
# loopback of the container; for a Prometheus in another one set
# WELCOMED_ADMIN_LISTEN=0.0.0.0:9421, on a network that only it is in, or with
# WELCOMED_ADMIN_TOKEN_FILE.
#
# The base of the build is an argument, so that it can be pinned by its digest, or
# be an image that is there already.
ARG BUILD_IMAGE=golang:1.26
FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
ARG TARGETOS
ARG TARGETARCH
# Nothing of where and when it is built is in the binary.
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} go build -trimpath -buildvcs=false \
      -ldflags="-s -w -buildid= -X welcomed/cli.version=${VERSION}" -o /out/welcomed . \
 && install -d -m 0700 /out/owned/data \
 && CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} deploy/release/notices.sh > /out/THIRD-PARTY \
 && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /out/ca-certificates.crt

FROM scratch
ARG VERSION=devel
ARG REVISION=
LABEL org.opencontainers.image.title="welcomed" \
      org.opencontainers.image.description="keeps MLS KeyPackages and Welcomes for devices that are offline" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# For the keys of an OpenID Connect issuer and for backups elsewhere.
COPY --from=build /out/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/welcomed /welcomed
# The licences of what is linked into it.
COPY --from=build /out/THIRD-PARTY /THIRD-PARTY
# A new volume begins as a copy of /data, with its owner and mode, which COPY keeps
# of what is in a directory and not of the directory.
COPY --from=build --chown=65532:65532 /out/owned /
USER 65532:65532
ENV PATH=/ \
    WELCOMED_DB=/data/welcomed.db \
    WELCOMED_LISTEN=0.0.0.0:9420 \
    WELCOMED_AUTH=token
VOLUME /data
EXPOSE 9420
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s CMD ["/welcomed", "health"]
ENTRYPOINT ["/welcomed"]
CMD ["serve"]
