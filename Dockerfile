# A commyfs server (and everything else of the one binary) in a small image:
#
#     podman build -t commyfs .
#     podman run -p 7443:7443 -v commyfs:/var/lib/commyfs commyfs
#     podman exec CONTAINER commyfs key create laptop
#
# A mount inside a container needs the device and the right to mount:
#
#     podman run --user root --device /dev/fuse --cap-add SYS_ADMIN commyfs mount /mnt --server wss://HOST:7443 ...
#
# Without a registry, build from bases of your own, the first with Go, the second any Debian:
#
#     debootstrap --variant=minbase bookworm rootfs && tar -C rootfs -c . | podman import - localhost/debian
#     podman build --build-arg GO_IMAGE=localhost/golang --build-arg BASE_IMAGE=localhost/debian -t commyfs .

ARG GO_IMAGE=docker.io/library/golang:1.26-bookworm
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /commyfs ./cmd/commyfs

FROM ${BASE_IMAGE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends fuse3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --home-dir /var/lib/commyfs --shell /usr/sbin/nologin commyfs \
 && install -d -o commyfs -g commyfs -m 0700 /var/lib/commyfs /run/commyfs
COPY --from=build /commyfs /usr/local/bin/commyfs
ENV COMMYFS_STATE_DIR=/var/lib/commyfs COMMYFS_RUNTIME_DIR=/run/commyfs
USER commyfs
VOLUME /var/lib/commyfs
EXPOSE 7443
ENTRYPOINT ["commyfs"]
CMD ["serve", "--listen", "0.0.0.0:7443", "--tls-self-signed"]
