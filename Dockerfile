# Switchboard as a container. Two images come out of it:
#
#   docker build -t switchboard .                             the gateway alone (the last stage, `gateway`)
#   docker build -t switchboard:runners --target runners .    with Node and Python, for npx and uvx
#
# Both run as user 65532, with a root file system that may be read-only: what is written goes to
# /var/lib/switchboard (a volume) and /tmp. docs/operations.md#containers tells more.
#
# Where the base images come from; a mirror or a digest can be given with --build-arg.
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-slim-bookworm
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot
ARG NODE_IMAGE=docker.io/library/node:22.22.0-bookworm-slim

# ---------------------------------------------------------------------------------------------------
FROM ${RUST_IMAGE} AS build
WORKDIR /src
# `dev` builds in a third of the time what is several times as large and as slow.
ARG PROFILE=release
# Function names stay, for backtraces; the rest of what debuggers read is most of the program's size.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo CARGO_INCREMENTAL=0 CARGO_TERM_COLOR=never

COPY . .
# Dependencies are fetched and compiled into mounts that the builder keeps: a changed source compiles
# the workspace's own crates and nothing else.
RUN --mount=type=cache,id=switchboard-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=switchboard-target,target=/src/target,sharing=locked \
    cargo build --locked --profile "${PROFILE}" -p switchboard-cli \
    && install -D -m 0755 "target/$([ "${PROFILE}" = dev ] && echo debug || echo "${PROFILE}")/switchboard" \
        /out/usr/local/bin/switchboard \
    && install -D -m 0644 config/production.yaml /out/etc/switchboard/switchboard.yaml \
    && install -d -m 0750 -o 65532 -g 65532 /out/var/lib/switchboard

# ---------------------------------------------------------------------------------------------------
FROM ${NODE_IMAGE} AS runners
# uv runs Python servers (`uvx`), and brings no Python of its own: Debian's is there.
ARG UV_VERSION=0.13.8
# Debian's packages are not pinned: what the release of the base image has now, with its security updates.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir --no-compile "uv==${UV_VERSION}" \
    && ln -s /opt/uv/bin/uv /opt/uv/bin/uvx /usr/local/bin/
COPY deploy/container/npmrc /usr/local/etc/npmrc
COPY deploy/container/uv.toml /etc/uv/uv.toml
COPY --from=build /out/ /
# Servers get HOME from the gateway: npm's and uv's caches are in the volume.
ENV HOME=/var/lib/switchboard TMPDIR=/tmp
WORKDIR /var/lib/switchboard
VOLUME ["/var/lib/switchboard"]
USER 65532:65532
EXPOSE 8080 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/switchboard", "health"]
ENTRYPOINT ["/usr/local/bin/switchboard"]
CMD ["serve"]

# ---------------------------------------------------------------------------------------------------
FROM ${BASE_IMAGE} AS gateway
COPY --from=build /out/ /
ENV HOME=/var/lib/switchboard TMPDIR=/tmp
WORKDIR /var/lib/switchboard
VOLUME ["/var/lib/switchboard"]
USER 65532:65532
EXPOSE 8080 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/switchboard", "health"]
ENTRYPOINT ["/usr/local/bin/switchboard"]
CMD ["serve"]
