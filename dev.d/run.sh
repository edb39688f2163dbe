# Builds what is run, and runs it against a local broker that is always stopped again.

# One feature set and one profile for tests, lints, demo and torture, so that RocksDB and librdkafka
# are compiled once.
FEATURES=testing,mutants

# Builds the binaries and copies them into .dev/bin: the target directory is shared by checkouts, so
# what lies there may be another checkout's by the time it is run.
build_binaries() {
    say "building tidemill and tidemill-harness (the first time RocksDB is compiled, which takes minutes)"
    mkdir -p "$LOCAL/bin"
    local line binary
    while read -r line; do
        binary=$(sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' <<<"$line")
        [ -z "$binary" ] || install -m 755 "$binary" "$LOCAL/bin/${binary##*/}"
    done < <(cargo build --locked -p tidemill -p tidemill-harness --bins --features "$FEATURES" \
        --message-format=json-render-diagnostics)
    [ -x "$LOCAL/bin/tidemill" ] && [ -x "$LOCAL/bin/tidemill-harness" ] ||
        die "the build did not produce tidemill and tidemill-harness"
}

# Starts cluster $1 with $2 brokers; its addresses end in $BOOTSTRAP. It is stopped when ./dev ends,
# however it ends.
with_kafka() {
    KAFKA_NAME="$1" KAFKA_BROKERS="$2" KAFKA_DIR="$LOCAL/kafka/$1" KAFKA_KEEP="" KAFKA_ALL=""
    trap 'kafka_down' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    [ ! -e "$KAFKA_DIR/brokers" ] || kafka_down # what a killed run left
    kafka_up >"$LOCAL/$1.bootstrap"
    BOOTSTRAP=$(cat "$LOCAL/$1.bootstrap")
}

demo_command() {
    setup_build
    setup_kafka
    build_binaries
    with_kafka "demo-$$" 1
    "$LOCAL/bin/tidemill-harness" demo --bootstrap "$BOOTSTRAP" --tidemill "$LOCAL/bin/tidemill" \
        --dir "$LOCAL/demo-$$" "$@"
}

torture_command() {
    local brokers=1
    if [ "${1:-}" = --brokers ]; then
        brokers="$2"
        shift 2
    fi
    setup_build
    setup_kafka
    build_binaries
    with_kafka "torture-$$" "$brokers"
    "$LOCAL/bin/tidemill-harness" torture --bootstrap "$BOOTSTRAP" --tidemill "$LOCAL/bin/tidemill" \
        --dir "$LOCAL/torture-$$" "$@"
}

sim_command() {
    setup_build
    CARGO_TARGET_DIR="$CARGO_TARGET_DIR/pure" \
        cargo test --locked --no-default-features --features testing --test sim -- --nocapture "$@"
}

tidy_command() {
    CARGO_TARGET_DIR="$CARGO_TARGET_DIR/pure" cargo run --locked -q -p xtask -- tidy "$@"
}
