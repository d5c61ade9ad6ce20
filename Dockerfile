# The gateway in an image without a shell:
#
#   docker build -t pushgate \
#     --build-arg PUSHGATE_COMMIT="$(git rev-parse --short HEAD)" \
#     --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" .
#
# Both bases can be named by digest instead of by tag, for builds that have to be the same again.
ARG RUST_IMAGE=rust:1.95-bookworm
ARG RUN_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST_IMAGE} AS build
WORKDIR /build
# The dependencies in a layer of their own, made again when they change and not with each change of
# the sources: every target that a manifest names is there, and does nothing.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY tests/fuzz/Cargo.toml tests/fuzz/
COPY src/build.rs src/
RUN mkdir benches tests/interleavings \
    && for file in src/main benches/wire benches/intake benches/fanout benches/idle benches/tls \
        tests/interleavings/handovers tests/fuzz/fuzz; do echo 'fn main() {}' > "$file.rs"; done \
    && touch src/lib.rs \
    && cargo build --release --locked --bin pushgate \
    && cargo clean --release --locked --package pushgate
COPY . .
# Without a repository beside it, the build says of itself what it is told here.
ARG PUSHGATE_COMMIT=
ARG SOURCE_DATE_EPOCH=
RUN cargo build --release --locked --bin pushgate

FROM ${RUN_IMAGE}
ARG PUSHGATE_COMMIT=
LABEL org.opencontainers.image.title="pushgate" \
    org.opencontainers.image.description="A push gateway: clients hold a TCP connection, services push by UDP" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0" \
    org.opencontainers.image.revision="${PUSHGATE_COMMIT}"
COPY --from=build /build/target/release/pushgate /usr/local/bin/pushgate
COPY --from=build /build/config/pushgate.toml /etc/pushgate/pushgate.toml
# Clients (TCP) and senders (UDP) on 7400, operators on 7401: all on loopback in the shipped file.
# Mount one of your own over it to be reached from outside, and README.md on what that takes.
EXPOSE 7400/tcp 7400/udp 7401/tcp
# By number, so that who runs it can tell that it is not root.
USER 65532:65532
# It drains, within drain.linger and drain.grace: give `docker stop` more than their sum.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/pushgate", "health", "--config", "/etc/pushgate/pushgate.toml"]
ENTRYPOINT ["/usr/local/bin/pushgate"]
CMD ["serve", "--config", "/etc/pushgate/pushgate.toml"]
