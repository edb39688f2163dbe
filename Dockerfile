# Two stages: build from source, then the binary alone on Debian, as a user without rights.
# Where there is no Docker, dev.d/image.sh runs the build's RUN lines by hand (./dev test does).

FROM rust:1.95.0-slim-bookworm AS build
# `release`, or `dev` for a quick look: dependencies are optimised there too.
ARG PROFILE=release
ARG OUT=/out
RUN apt-get update && apt-get install -y --no-install-recommends g++ make curl pkg-config libssl-dev zlib1g-dev libclang-dev
WORKDIR /src
COPY . .
RUN cargo build --locked --profile "$PROFILE" -p tidemill --bin tidemill
RUN install -D "${CARGO_TARGET_DIR:-target}/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")/tidemill" "$OUT/tidemill"

FROM debian:12.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libssl3 libstdc++6 zlib1g && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/tidemill --create-home tidemill
COPY --from=build /out/tidemill /usr/local/bin/tidemill
COPY LICENSE /usr/share/doc/tidemill/LICENSE
# State: a restart with it resumes, a restart without it restores from Kafka.
VOLUME /var/lib/tidemill
ENV TIDEMILL_STATE__DIR=/var/lib/tidemill TIDEMILL_HTTP__BIND=0.0.0.0:8080
EXPOSE 8080
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/tidemill"]
CMD ["run", "word-count"]
