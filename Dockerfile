# The image of credlet: one static program and the certificates it trusts, nothing else. Without a container engine:
# .ci/image.sh, which runs the last stage below on what .ci/rootfs.sh makes outside of any container.
FROM debian:12 AS build
WORKDIR /src
COPY . .
RUN .ci/setup.sh build static && .ci/rootfs.sh /rootfs

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="credlet" \
      org.opencontainers.image.description="Node-local AWS credential daemon for Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /rootfs /
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/credlet"]
