# Everything CI runs, as stages that each print a name, what they ran and their seconds. The last
# line adds up all runners' own counts; a stage without a runner counts as one check.

# Every kind of fault that one broker allows, in minutes.
SHORT_TORTURE="--tier 0 --seed 7 --transfers 200000 --accounts 20000"

# Property tests draw the same cases in every run, so that a change is told from chance. Other cases:
# PROPTEST_RNG_SEED=1 ./dev test --quick
export PROPTEST_RNG_SEED="${PROPTEST_RNG_SEED:-20260701}"

# What the engine logs while tests break it goes to the stage's log file alone.
LOG_LINE='^[0-9-]+T[0-9:.]+Z +(ERROR|WARN|INFO|DEBUG|TRACE) '

TEST_PASSED=0
TEST_FAILED=0

# Runs a stage: a name, then a command.
stage() {
    local name="$1" began=$SECONDS log passed failed status=0
    shift
    log="$LOCAL/log/${name// /-}.log"
    printf '\n== %s\n' "$name"
    # A subshell with errexit, which `||` would switch off in a function called directly.
    set +e
    (
        set -e
        "$@"
    ) 2>&1 | tee "$log" | grep -v --line-buffered -E "$LOG_LINE"
    status=${PIPESTATUS[0]}
    set -e
    passed=$(stage_count passed "$log")
    failed=$(stage_count failed "$log")
    if [ "$status" -eq 0 ]; then
        [ $((passed + failed)) -gt 0 ] || passed=1
    else
        [ "$failed" -gt 0 ] || failed=1
    fi
    TEST_PASSED=$((TEST_PASSED + passed))
    TEST_FAILED=$((TEST_FAILED + failed))
    if [ "$failed" -eq 0 ]; then
        printf '== %s: ok, %d checks, %d s\n' "$name" "$passed" $((SECONDS - began))
    else
        printf '== %s: FAILED, %d of %d checks, %d s, log in %s\n' \
            "$name" "$failed" $((passed + failed)) $((SECONDS - began)) "${log#"$ROOT"/}"
    fi
}

# Adds up "N passed" or "N failed" over the lines with which cargo's test runners close.
stage_count() {
    awk -v what="$1" '/^test result: / {
        for (i = 2; i <= NF; i++) if ($i == what ";") sum += $(i - 1)
    } END { print sum + 0 }' "$2"
}

CHECKS_PASSED=0
CHECKS_FAILED=0

# One check of a stage written here: words, then a command that has to succeed.
check() {
    local words="$1" output
    shift
    if output=$("$@" 2>&1); then
        CHECKS_PASSED=$((CHECKS_PASSED + 1))
        echo "$words: ok"
    else
        CHECKS_FAILED=$((CHECKS_FAILED + 1))
        printf '%s: FAILED\n%s\n' "$words" "$output"
    fi
}

# The other way round: words, a text that the refusal has to contain, and a command that has to fail.
check_refused() {
    local words="$1" reason="$2" output
    shift 2
    if output=$("$@" 2>&1) || [[ $output != *"$reason"* ]]; then
        CHECKS_FAILED=$((CHECKS_FAILED + 1))
        printf '%s: FAILED, not refused with "%s"\n%s\n' "$words" "$reason" "$output"
    else
        CHECKS_PASSED=$((CHECKS_PASSED + 1))
        echo "$words: refused, as it has to be"
    fi
}

# Closes a stage of checks in the form of cargo's runners.
check_result() {
    echo "test result: $([ $CHECKS_FAILED -eq 0 ] && echo ok || echo FAILED). $CHECKS_PASSED passed; $CHECKS_FAILED failed;"
    [ $CHECKS_FAILED -eq 0 ]
}

skipped() { printf '\n== %s: SKIPPED, %s\n' "$1" "$2"; }

pure() {
    CARGO_TARGET_DIR="$CARGO_TARGET_DIR/pure" cargo "$1" --locked --no-default-features --features testing "${@:2}"
}

# Seeds of the simulation; with --quick fewer, but enough for a table without empty cells.
SIM_SEEDS=20000
SIM_SEEDS_QUICK=2000

# `simulation [test arguments]`: the crate itself optimised, with its debug assertions: tens of
# thousands of runs are worth a minute of compiling.
simulation() {
    pure test --features mutants --config profile.dev.package.tidemill.opt-level=3 \
        --config profile.dev.package.tidemill.codegen-units=4 --test sim -- "$@"
}

# Shown in full: seeds, seconds, and the tables of faults.
test_simulation() { TIDEMILL_SIM_SEEDS="$1" simulation --nocapture; }

# Without default features there is no C or C++ in the tree; with them there is, so the check can fail.
test_tree() {
    local crate
    for crate in librocksdb-sys rdkafka-sys; do
        check_refused "no $crate without default features" "did not match any packages" \
            cargo tree --locked -p tidemill --no-default-features -i "$crate"
        check_refused "no $crate in the pure tests" "did not match any packages" \
            cargo tree --locked -p tidemill --no-default-features --features testing -i "$crate"
        check "$crate with default features" cargo tree --locked -p tidemill -i "$crate"
    done
    check_result
}

test_shell() {
    local file
    for file in dev dev.d/*.sh .ci/run; do
        check "$file" bash -n "$file"
    done
    check "every mutant has a check (dev.d/mutants.txt)" test -z "$(mutants_unnamed)"
    check_result
}

test_pure() {
    pure test --lib
    pure test --doc
}

test_it() {
    TIDEMILL_TEST_BROKER="$BOOTSTRAP" TIDEMILL_TEST_SECURE="$KAFKA_DIR/secure" \
        cargo test --locked --features "$FEATURES" --test it
}

test_command() {
    local quick=""
    case "${1:-}" in
    "") ;;
    --quick) quick=1 ;;
    *) die "test: unknown argument '$1'" ;;
    esac
    setup_build
    setup_deploy
    [ -n "$quick" ] || setup_kafka
    mkdir -p "$LOCAL/log"

    stage "shell" test_shell
    stage "format" cargo fmt --all --check
    stage "tidy" tidy_command
    stage "tree" test_tree
    stage "chart" test_chart
    stage "compose" test_compose
    stage "pure tests" test_pure
    stage "simulation" test_simulation "$([ -n "$quick" ] && echo $SIM_SEEDS_QUICK || echo $SIM_SEEDS)"
    stage "clippy pure" pure clippy --all-targets -- -D warnings
    stage "clippy" cargo clippy --locked --workspace --all-targets --features "$FEATURES" -- -D warnings
    stage "native tests" cargo test --locked --workspace --lib --bins --test bench-parts --features "$FEATURES"
    # Real processes, as far as they need no broker.
    stage "process tests" cargo test --locked --features "$FEATURES" --test process
    stage "image" test_image
    if [ -n "$quick" ]; then
        skipped "integration" "it needs a broker (--quick)"
        skipped "torture" "it needs a broker (--quick)"
    else
        stage "binaries" build_binaries
        with_kafka "test-$$" 1 secure
        if [ -e tests/it/main.rs ]; then stage "integration" test_it; fi
        stage "torture" harness torture $SHORT_TORTURE
        stage "negative controls" harness controls
    fi
    printf '\n%d passed, %d failed\n' "$TEST_PASSED" "$TEST_FAILED"
    [ "$TEST_FAILED" -eq 0 ]
}
