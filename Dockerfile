# The service alone: no compiler, no shell scripts, nothing that listens but segmentd.
#   docker build -t segmentd .
# It needs a PostgreSQL (DATABASE_URL) with its schema in place (segmentd migrate up) and, since it
# listens beyond the loopback, a token (segmentd token create); docker/compose.yaml does all three.

FROM debian:bookworm-slim AS build
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        gcc libc6-dev meson ninja-build pkg-config python3 \
        libcjson-dev libinih-dev libmicrohttpd-dev libopenblas-pthread-dev libpq-dev libssl-dev zlib1g-dev libzstd-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN meson setup /build --buildtype=release \
    && ninja -C /build server/segmentd \
    && strip -o /segmentd /build/server/segmentd

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="segmentd" \
      org.opencontainers.image.description="User segments and predictions from PostgreSQL, over HTTP" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        libcjson1 libinih1 libmicrohttpd12 libopenblas0-pthread libpq5 libssl3 zlib1g libzstd1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /segmentd /usr/bin/segmentd
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
ENV SEGMENTD_HTTP_LISTEN=0.0.0.0:8080 \
    SEGMENTD_AUTH_MODE=token
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=20s --retries=3 \
    CMD ["segmentd", "healthcheck", "--url", "http://127.0.0.1:8080/livez"]
ENTRYPOINT ["segmentd"]
CMD ["serve"]
