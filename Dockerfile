# A static binary in an image with nothing else.
#
#   docker build -t welcomed .
#   docker run --network host -v welcomed:/data welcomed
#
# There is no authentication yet, so the server listens on loopback only: it is
# reached from its own host (--network host) or its own network namespace (a
# sidecar, a pod).
ARG BUILD_IMAGE=golang:1.26
FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w -X welcomed/cli.version=${VERSION}" -o /out/welcomed . \
 && install -d -m 0700 /out/data

FROM scratch
COPY --from=build /out/welcomed /welcomed
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
ENV WELCOMED_DB=/data/welcomed.db
VOLUME /data
EXPOSE 9420
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s CMD ["/welcomed", "health"]
ENTRYPOINT ["/welcomed"]
CMD ["serve"]
