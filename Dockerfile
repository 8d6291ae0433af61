# octetd in a small image. Build: docker build -t octet .
# Run: docker run --rm -p 127.0.0.1:8080:8080 -v "$PWD/models:/models:ro" octet
FROM debian:12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
        cmake ninja-build gcc libc6-dev pkg-config libmicrohttpd-dev libuv1-dev libjansson-dev \
        libpcre2-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY CMakeLists.txt CMakePresets.json ./
COPY config config
COPY api api
COPY model model
COPY server server
COPY tools tools
RUN cmake --preset release -DOCTET_TESTS=OFF && cmake --build build/release --target octet octetd

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
        libmicrohttpd12 libuv1 libjansson4 libpcre2-8-0 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/build/release/bin/octet /src/build/release/bin/octetd /usr/local/bin/
COPY LICENSE /usr/share/doc/octet/LICENSE
# Outside a container the default is 127.0.0.1, which nobody else could reach here.
ENV OCTET_HOST=0.0.0.0 OCTET_PORT=8080 OCTET_MODEL=/models/model.gguf
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/octetd"]
