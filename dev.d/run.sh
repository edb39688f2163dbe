# Builds what is run, and runs it against a local broker that is always stopped again.

# One feature set and one profile for tests, lints, demo and torture, so that RocksDB and librdkafka
# are compiled once.
FEATURES=testing,mutants

# Builds the binaries and copies them into .dev/bin: the target directory is shared by checkouts, so
# what lies there may be another checkout's by the time it is run.
build_binaries() {
    say "building tidemill and tidemill-harness (the first time RocksDB is compiled, which takes minutes)"
    mkdir -p "$LOCAL/bin"
    rm -f "$LOCAL"/bin/tidemill*
    local line binary
    # With the tests, so that dependencies have the features that they are tested with, and are not
    # built twice.
    cargo build --locked -p tidemill --bins --tests --features "$FEATURES" \
        --message-format=json-render-diagnostics >"$LOCAL/build.json"
    while read -r line; do
        binary=$(sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' <<<"$line")
        case "${binary##*/}" in
        tidemill | tidemill-harness | tidemill-fault-proxy) install -m 755 "$binary" "$LOCAL/bin/${binary##*/}" ;;
        esac
    done <"$LOCAL/build.json"
    [ -x "$LOCAL/bin/tidemill" ] && [ -x "$LOCAL/bin/tidemill-harness" ] ||
        die "the build did not produce tidemill and tidemill-harness"
}

# Starts cluster $1 with $2 brokers; its addresses end in $BOOTSTRAP. It is stopped when ./dev ends,
# however it ends.
with_kafka() {
    KAFKA_NAME="$1" KAFKA_BROKERS="$2" KAFKA_DIR="$LOCAL/kafka/$1" KAFKA_KEEP="" KAFKA_ALL=""
    KAFKA_SECURE="${3:-}"
    trap 'kafka_down' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    mkdir -p "$LOCAL"
    kafka_up >"$LOCAL/bootstrap-$1"
    BOOTSTRAP=$(cat "$LOCAL/bootstrap-$1")
    rm -f "$LOCAL/bootstrap-$1"
}

# Runs `tidemill-harness $1` on the cluster that is up. What a run that failed leaves (logs, state)
# stays in .dev/run; what succeeded leaves nothing.
harness() {
    local command="$1" directory="$LOCAL/run/$1-$$"
    shift
    mkdir -p "$directory"
    # The fault proxy has hundreds of connections.
    ulimit -n "$(ulimit -Hn)" || true
    "$LOCAL/bin/tidemill-harness" "$command" --bootstrap "$BOOTSTRAP" \
        --tidemill "$LOCAL/bin/tidemill" --directory "$directory" "$@" || {
        local status=$?
        say "logs and state of this run: ${directory#"$ROOT"/}"
        return $status
    }
    rm -rf "$directory"
}

# Sets up, builds, starts brokers (--brokers 1|3 in front), runs a command of the harness.
harness_command() {
    local brokers=1 command
    if [ "${1:-}" = --brokers ]; then
        brokers="${2:?--brokers needs 1 or 3}"
        shift 2
    fi
    command="${1:?a command of tidemill-harness}"
    shift
    setup_build
    setup_kafka
    build_binaries
    with_kafka "$command-$$" "$brokers"
    harness "$command" "$@"
}

# A real text that every Debian system has; elsewhere this repository's licence.
demo_command() {
    local text=/usr/share/common-licenses/GPL-3
    [ -r "$text" ] || text="$ROOT/LICENSE"
    harness_command demo --text "$text" "$@"
}

# --tier 1 and 2 run on three brokers, which are killed and rolled, too.
torture_command() {
    local brokers=1 tier=0 previous="" argument
    for argument in "$@"; do
        [ "$previous" = --tier ] && tier="$argument"
        previous="$argument"
    done
    [ "$tier" = 0 ] || brokers=3
    if [ "${1:-}" = --brokers ]; then
        brokers="${2:?--brokers needs 1 or 3}"
        shift 2
    fi
    setup_build
    setup_kafka
    build_binaries
    with_kafka "torture-$$" "$brokers"
    harness torture --dev "$ROOT/dev" --kafka-dir "$KAFKA_DIR" "$@"
}

sim_command() {
    setup_build
    local check=seeds::every_seed_is_exactly_once_and_the_same_again
    case "${1:-} ${2:-}" in
    "--seed "[0-9]*) TIDEMILL_SIM_SEED="$2" simulation --nocapture --exact $check ;;
    "--seeds "[0-9]*) TIDEMILL_SIM_SEEDS="$2" simulation --nocapture --exact $check ;;
    *) die "sim: --seed N, or --seeds N" ;;
    esac
}

tidy_command() {
    CARGO_TARGET_DIR="$CARGO_TARGET_DIR/pure" cargo run --locked -q -p xtask -- tidy "$@"
}
