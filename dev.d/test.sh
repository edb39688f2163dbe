# Everything CI runs, as stages that each print a name, what they ran and their seconds. The last
# line adds up all runners' own counts; a stage without a runner counts as one check.

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
    ) 2>&1 | tee "$log"
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

skipped() { printf '\n== %s: SKIPPED, %s\n' "$1" "$2"; }

pure() {
    CARGO_TARGET_DIR="$CARGO_TARGET_DIR/pure" cargo "$1" --locked --no-default-features --features testing "${@:2}"
}

# Without default features there is no C or C++ in the tree; with them there is, so the check can fail.
test_tree() {
    local crate
    for crate in librocksdb-sys rdkafka-sys; do
        if cargo tree --locked -p tidemill --no-default-features --features testing -e normal,build,dev -i "$crate" 2>/dev/null |
            grep -q "$crate"; then
            echo "$crate is in the tree without default features"
            return 1
        fi
        cargo tree --locked -p tidemill -i "$crate" | grep -q "$crate"
        echo "$crate: absent without default features, present with them"
    done
}

test_shell() {
    local file
    for file in dev dev.d/*.sh .ci/run; do bash -n "$file"; done
}

test_it() {
    TIDEMILL_TEST_BROKER="$BOOTSTRAP" cargo test --locked --features "$FEATURES" --test it
}

test_torture() {
    "$LOCAL/bin/tidemill-harness" torture --bootstrap "$BOOTSTRAP" --tidemill "$LOCAL/bin/tidemill" \
        --dir "$LOCAL/torture-$$" "$@"
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
    stage "pure tests" pure test
    stage "simulation" pure test --release-free --test sim
    stage "clippy pure" pure clippy --all-targets -- -D warnings
    stage "clippy" cargo clippy --locked --workspace --all-targets --features "$FEATURES" -- -D warnings
    stage "native tests" cargo test --locked --workspace --lib --bins --features "$FEATURES"
    stage "image" test_image
    if [ -n "$quick" ]; then
        skipped "integration" "it needs a broker (--quick)"
        skipped "torture" "it needs a broker (--quick)"
    else
        build_binaries
        with_kafka "test-$$" 1
        stage "integration" test_it
        stage "torture" test_torture --short
        stage "negative controls" test_controls
    fi
    printf '\n%d passed, %d failed\n' "$TEST_PASSED" "$TEST_FAILED"
    [ "$TEST_FAILED" -eq 0 ]
}
