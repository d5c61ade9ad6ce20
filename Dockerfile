# The gateway in an image without a shell: docker build -t pushgate .
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --release --locked --bin pushgate

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/pushgate /usr/local/bin/pushgate
COPY --from=build /build/config/pushgate.toml /etc/pushgate/pushgate.toml
# Clients (TCP) and senders (UDP) on 7400, operators on 7401: all on loopback in the shipped file.
# Mount one of your own over it to be reached from outside, and README.md on what that takes.
EXPOSE 7400/tcp 7400/udp 7401/tcp
USER nonroot
ENTRYPOINT ["/usr/local/bin/pushgate", "serve", "--config", "/etc/pushgate/pushgate.toml"]
