# The benchmark: Tidemill, librdkafka's limits and Kafka Streams on one local broker.

# Users get Tidemill from the release profile. Its dependencies are optimised in the dev profile
# too; with these, so is Tidemill itself, and RocksDB need not be compiled once more (ADR 0009).
BENCH_PROFILE=(
    --config profile.dev.package.tidemill.opt-level=3
    --config profile.dev.package.tidemill.debug-assertions=false
    --config profile.dev.package.tidemill.overflow-checks=false
)

# The broker as docs/PERFORMANCE.md describes it, the same for all systems.
BENCH_BROKER_PROPERTIES="offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
num.network.threads=1
num.io.threads=2"
BENCH_BROKER_JVM="-Xms1g -Xmx1g -XX:+UseG1GC"

# Kafka Streams and the program that runs the workloads on it, once per version of either.
bench_peer() {
    local source="$ROOT/bench/peers/kafka-streams" version
    version=$(cat "$source/pom.xml" "$source"/src/* | sha256sum | cut -c 1-12)
    BENCH_PEER="$CACHE/kafka-streams-$KAFKA_VERSION-$version"
    [ -e "$BENCH_PEER/.complete" ] && return
    (
        flock 9
        [ -e "$BENCH_PEER/.complete" ] && exit 0
        say "building the Kafka Streams peer into $BENCH_PEER"
        rm -rf "$BENCH_PEER"
        mvn -q -B -f "$source/pom.xml" -Dkafka.version="$KAFKA_VERSION" -Dpeer.directory="$BENCH_PEER" \
            package dependency:copy-dependencies -DincludeScope=runtime \
            -DoutputDirectory="$BENCH_PEER/lib" >&2
        touch "$BENCH_PEER/.complete"
    ) 9>"$BENCH_PEER.lock"
}

# Builds tidemill-bench (and tidemill, whose size is measured) and copies them into .dev/bin.
bench_build() {
    say "building tidemill-bench (the first time RocksDB is compiled, which takes minutes)"
    mkdir -p "$LOCAL/bin"
    rm -f "$LOCAL"/bin/tidemill-bench
    local line binary
    cargo build --locked -p tidemill --bin tidemill --bench tidemill-bench --features "$FEATURES" \
        "${BENCH_PROFILE[@]}" --message-format=json-render-diagnostics >"$LOCAL/build-bench.json"
    while read -r line; do
        binary=$(sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' <<<"$line")
        case "${binary##*/}" in
        tidemill-bench* | tidemill_bench*) install -m 755 "$binary" "$LOCAL/bin/tidemill-bench" ;;
        tidemill) install -m 755 "$binary" "$LOCAL/bin/tidemill-measured" ;;
        esac
    done <"$LOCAL/build-bench.json"
    [ -x "$LOCAL/bin/tidemill-bench" ] || die "the build did not produce tidemill-bench"
}

bench_command() {
    case "${1:-}" in -h | --help | help) bench_usage && return ;; esac
    setup_build
    if [ "${1:-}" = --instructions ]; then
        command -v valgrind >/dev/null || setup_system instructions
        cargo bench --locked -p tidemill --bench hot-path --profile dev --features "$FEATURES" "${BENCH_PROFILE[@]}"
        return
    fi
    setup_kafka
    setup_system peer
    bench_peer
    bench_build
    # shellcheck disable=SC2034 # read by kafka_format and kafka_start
    KAFKA_PROPERTIES="$BENCH_BROKER_PROPERTIES" KAFKA_JVM="$BENCH_BROKER_JVM"
    with_kafka "bench-$$" 1
    local directory="$LOCAL/run/bench-$$" broker="$KAFKA_DIR/broker-1" status=0
    "$LOCAL/bin/tidemill-bench" run --bootstrap "$BOOTSTRAP" --broker-pid "$(cat "$broker/pid")" \
        --broker-data "$broker/data" --directory "$directory" --peer "$BENCH_PEER" \
        --tidemill "$LOCAL/bin/tidemill-measured" --out "$CARGO_TARGET_DIR/bench" "$@" || status=$?
    [ $status -eq 0 ] && rm -rf "$directory"
    return $status
}

bench_usage() {
    cat <<'HELP'
./dev bench [--quick] [--pin] [--workload W2]... [--records N] [--repetitions N]

  --quick          everything once with small inputs, cut for five minutes on a quiet machine
  --pin            broker and driver on the first processor, each system on the second one
  --idle-wait S    how long to wait for an idle machine before each run (60, quick: 3)
  --instructions   only the hot path's cost in instructions, by valgrind
  --workload NAME  only this one; may be repeated
Exit code: 0 measured, 1 Tidemill's output was wrong, 2 INVALID (a peer was slowed or wrong).
Results: bench/results.json and results-{light,dark}.svg in cargo's target directory.
HELP
}
