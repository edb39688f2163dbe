# What has to be on the machine. Each piece is looked for first; only what is missing is installed,
# and every installation is announced. System packages by apt, the rest into $CACHE by version.

HELM_VERSION=3.22.0
KUBECONFORM_VERSION=0.8.0
COMPOSE_VERSION=2.40.3
KUBERNETES_VERSION=1.36.3 # whose API the chart's objects are checked against
GO_VERSION=1.26.0 # fetched only where no go of at least 1.21 is there (1.21 fetches newer ones itself)

# Prints the Debian packages that are missing for $1: build, kafka, deploy, and for the benchmark
# peer or instructions.
setup_missing() {
    case "$1" in
    build)
        command -v c++ >/dev/null || echo g++
        command -v make >/dev/null || echo make
        command -v curl >/dev/null || echo curl
        command -v pkg-config >/dev/null || echo pkg-config
        [ -e /usr/include/openssl/ssl.h ] || echo libssl-dev
        [ -e /usr/include/zlib.h ] || echo zlib1g-dev
        # bindgen, which reads RocksDB's and librdkafka's headers, loads libclang.
        compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null ||
            compgen -G '/usr/lib/*/libclang*.so*' >/dev/null || echo libclang-dev
        ;;
    kafka)
        [ -e "$KAFKA_JARS/.complete" ] || command -v mvn >/dev/null || echo maven
        command -v java >/dev/null || echo default-jre-headless
        command -v openssl >/dev/null || echo openssl
        ;;
    instructions) command -v valgrind >/dev/null || echo valgrind ;;
    peer)
        command -v mvn >/dev/null || echo maven
        command -v javac >/dev/null || echo default-jdk-headless
        ;;
    deploy)
        command -v python3 >/dev/null || echo python3-minimal
        setup_has_go || command -v unzip >/dev/null || echo unzip
        ;;
    esac
}

# Installs the system packages that are missing for the given purposes.
setup_system() {
    local purpose missing=()
    for purpose in "$@"; do
        mapfile -t -O ${#missing[@]} missing < <(setup_missing "$purpose")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "missing: ${missing[*]} (Debian names); install them by your package manager"
    local install="apt-get install -y --no-install-recommends ${missing[*]}"
    if [ "$(id -u)" -eq 0 ]; then
        say "installing system packages: ${missing[*]}"
        (
            flock 9
            export DEBIAN_FRONTEND=noninteractive
            $install >&2 || { apt-get update >&2 && $install >&2; }
        ) 9>"$CACHE/apt.lock"
    else
        die "system packages are missing; run: sudo $install"
    fi
}

setup_rust() {
    [ -e "$HOME/.cargo/bin/cargo" ] && PATH="$PATH:$HOME/.cargo/bin"
    if ! command -v cargo >/dev/null; then
        say "installing Rust by rustup (https://rustup.rs) into ~/.cargo"
        curl --proto '=https' --tlsv1.2 -fsSL https://sh.rustup.rs |
            sh -s -- -y -q --profile minimal -c clippy -c rustfmt >&2
        PATH="$PATH:$HOME/.cargo/bin"
    fi
    if ! cargo clippy --version >/dev/null 2>&1 || ! cargo fmt --version >/dev/null 2>&1; then
        say "adding clippy and rustfmt"
        rustup component add clippy rustfmt >&2
    fi
}

# Whether there is a go that fetches the toolchain that a module asks for.
setup_has_go() {
    [ -x "$CACHE/go-$GO_VERSION/bin/go" ] && PATH="$CACHE/go-$GO_VERSION/bin:$PATH"
    [ -n "$(go env GOTOOLCHAIN 2>/dev/null)" ]
}

# A go command, for tools that are published as Go modules.
setup_go() {
    setup_has_go && return
    local arch
    case "$(uname -m)" in aarch64 | arm64) arch=arm64 ;; *) arch=amd64 ;; esac
    local module="v0.0.1-go$GO_VERSION.linux-$arch" proxy="${GOPROXY:-}"
    proxy="${proxy%%[,|]*}"
    [[ $proxy == http* ]] ||
        die "Go is needed for helm: install it (https://go.dev/dl), or name a module proxy that has it in GOPROXY"
    say "fetching Go $GO_VERSION from \$GOPROXY into $CACHE/go-$GO_VERSION"
    (
        flock 9
        [ -x "$CACHE/go-$GO_VERSION/bin/go" ] && exit 0
        rm -rf "$CACHE/go.partial" && mkdir -p "$CACHE/go.partial"
        curl -fsSL -o "$CACHE/go.partial/go.zip" "${proxy%/}/golang.org/toolchain/@v/$module.zip"
        unzip -q "$CACHE/go.partial/go.zip" -d "$CACHE/go.partial"
        chmod -R u+w "$CACHE/go.partial" && chmod +x "$CACHE/go.partial/golang.org/toolchain@$module"/{bin,pkg/tool/*}/*
        mv "$CACHE/go.partial/golang.org/toolchain@$module" "$CACHE/go-$GO_VERSION"
        rm -rf "$CACHE/go.partial"
    ) 9>"$CACHE/go.lock"
    PATH="$CACHE/go-$GO_VERSION/bin:$PATH"
}

# Builds the Go tool $1 (module path $2, version $3) into the cache, once per version.
setup_go_tool() {
    local tool="$1" module="$2" version="$3" dir
    dir="$CACHE/$tool-$version"
    [ -x "$dir/$tool" ] && return
    setup_go
    mkdir -p "$dir"
    (
        flock 9
        [ -x "$dir/$tool" ] && exit 0
        say "building $tool $version from its Go module into $dir (a few minutes, once)"
        GOBIN="$dir" GOTOOLCHAIN=auto go install "$module@v$version" >&2
    ) 9>"$dir.lock"
}

setup_helm() {
    setup_go_tool helm helm.sh/helm/v3/cmd/helm "$HELM_VERSION"
    HELM="$CACHE/helm-$HELM_VERSION/helm"
}

setup_kubeconform() {
    setup_go_tool kubeconform github.com/yannh/kubeconform/cmd/kubeconform "$KUBECONFORM_VERSION"
    KUBECONFORM="$CACHE/kubeconform-$KUBECONFORM_VERSION/kubeconform"
}

# Docker compose as a single binary, for checking the file: its module has replace directives, which
# `go install` refuses, so it is built in a copy of its source.
setup_compose() {
    local dir="$CACHE/compose-$COMPOSE_VERSION" module=github.com/docker/compose/v2 source
    COMPOSE="$dir/docker-compose"
    [ -x "$COMPOSE" ] && return
    setup_go
    mkdir -p "$dir"
    (
        flock 9
        [ -x "$COMPOSE" ] && exit 0
        say "building docker compose $COMPOSE_VERSION from its Go module into $dir (a few minutes, once)"
        source=$(cd "$dir" && GOTOOLCHAIN=auto GOFLAGS=-mod=mod go mod download -json "$module@v$COMPOSE_VERSION" |
            sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
        rm -rf "$dir/source" && cp -r "$source" "$dir/source" && chmod -R u+w "$dir/source"
        (cd "$dir/source" && GOTOOLCHAIN=auto go build -o "$COMPOSE.partial" ./cmd >&2)
        mv "$COMPOSE.partial" "$COMPOSE" && rm -rf "$dir/source"
    ) 9>"$dir.lock"
}

# promtool, which checks Prometheus' configuration: the one that is there, else out of Debian's
# package, which is not installed, since that would start a Prometheus. Empty where there is no apt.
setup_promtool() {
    PROMTOOL=$(command -v promtool || true)
    [ -z "$PROMTOOL" ] || return 0
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 0
    local dir="$CACHE/promtool"
    (
        flock 9
        [ -x "$dir/promtool" ] && exit 0
        say "fetching promtool out of the Debian package prometheus into $dir (19 MB, not installed)"
        rm -rf "$dir" && mkdir -p "$dir" && cd "$dir"
        apt-get download prometheus >&2 || {
            [ "$(id -u)" -eq 0 ] && apt-get update >&2 && apt-get download prometheus >&2
        }
        dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x --strip-components=3 ./usr/bin/promtool
        rm -f prometheus_*.deb
    ) 9>"$dir.lock" || say "promtool cannot be fetched"
    [ ! -x "$dir/promtool" ] || PROMTOOL="$dir/promtool"
}

# JSON schemas of Kubernetes' objects, made from the API's own description.
setup_schemas() {
    SCHEMAS="$CACHE/kubernetes-$KUBERNETES_VERSION-schemas"
    [ -e "$SCHEMAS/.complete" ] && return
    setup_go
    (
        flock 9
        [ -e "$SCHEMAS/.complete" ] && exit 0
        say "fetching the description of Kubernetes $KUBERNETES_VERSION's API into $SCHEMAS"
        mkdir -p "$SCHEMAS"
        cd "$SCHEMAS"
        local source
        source=$(GOTOOLCHAIN=auto GOFLAGS=-mod=mod go mod download -json "k8s.io/kubernetes@v$KUBERNETES_VERSION" |
            sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
        python3 "$ROOT/dev.d/kubernetes_schemas.py" "$source/api/openapi-spec/swagger.json" "$SCHEMAS"
        touch "$SCHEMAS/.complete"
    ) 9>"$SCHEMAS.lock"
}

# What every build needs.
setup_build() {
    mkdir -p "$CACHE" "$LOCAL"
    setup_system build
    setup_rust
}

# What a local Kafka needs.
setup_kafka() {
    mkdir -p "$CACHE" "$LOCAL"
    setup_system kafka
    kafka_jars
}

# What the checks of chart and compose file need.
setup_deploy() {
    mkdir -p "$CACHE" "$LOCAL"
    setup_system deploy
    setup_helm
    setup_compose
    setup_kubeconform
    setup_promtool
    setup_schemas
}

setup_command() {
    setup_build
    setup_kafka
    setup_deploy
    say "set up: $(cargo --version), Kafka $KAFKA_VERSION, helm $HELM_VERSION, compose $COMPOSE_VERSION, kubeconform $KUBECONFORM_VERSION"
}
