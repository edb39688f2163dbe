# Breaks every guarantee in turn and looks whether the named check notices: dev.d/mutants.txt.

MUTANTS="$ROOT/dev.d/mutants.txt"

# The table without comments: mutant, where, check.
mutants_table() { grep -v -E '^ *(#|$)' "$MUTANTS"; }

# Runs the named checks of one place once; what they say goes to a log.
mutants_run() {
    local where="$1" log="$2"
    local -a checks
    mapfile -t checks < <(mutants_table | awk -v where="$where" '$2 == where { print $3 }')
    case "$where" in
    unit) pure test --features mutants --lib -- --exact "${checks[@]}" ;;
    sim) simulation --exact "${checks[@]}" ;;
    checker)
        cargo test --locked --features "$FEATURES" --bin tidemill-harness -- --exact "${checks[@]}"
        ;;
    broker)
        build_binaries
        with_kafka "mutants-$$" 1
        mutants_controls "${checks[@]}"
        kafka_down
        ;;
    *) die "mutants: no checks in '$where'" ;;
    esac >"$log" 2>&1
}

# Controls on a real broker, one by one: each brings its own baseline.
mutants_controls() {
    local check
    for check in "$@"; do
        harness controls --only "$check" || true # each row is judged by itself
    done
}

# Whether the check of a row has noticed, by the log of its place. A check that did not run has not.
mutants_caught() {
    local where="$1" check="$2" log="$3"
    case "$where" in
    broker) grep -q -E "^$check +caught: " "$log" ;;
    *) grep -q -F -x "test $check ... ok" "$log" ;;
    esac
}

# Switches of src/runtime/mutants.rs that no row names: the table has to be complete.
mutants_unnamed() {
    local name
    grep -o -E '"[a-z]+(-[a-z]+)+"' "$ROOT/src/runtime/mutants.rs" | tr -d '"' | sort -u |
        while read -r name; do
            mutants_table | awk -v name="$name" '$1 == name { found = 1 } END { exit !found }' ||
                echo "$name"
        done
}

# Prints one line per mutant and `caught / total`; --no-broker leaves out what needs one.
mutants_command() {
    local broker=1 where mutant check caught=0 total=0 log seconds
    case "${1:-}" in
    "") ;;
    --no-broker) broker="" ;;
    *) die "mutants: unknown argument '$1'" ;;
    esac
    setup_build
    [ -z "$broker" ] || setup_kafka
    mkdir -p "$LOCAL/log"
    for where in $(mutants_table | awk '{ print $2 }' | sort -u); do
        [ "$where" != broker ] || [ -n "$broker" ] || continue
        log="$LOCAL/log/mutants-$where.log"
        seconds=$SECONDS
        mutants_run "$where" "$log" || true # each row is judged by itself
        say "checks in $where ran for $((SECONDS - seconds)) s, log in ${log#"$ROOT"/}"
    done
    while read -r mutant where check; do
        if [ "$where" = broker ] && [ -z "$broker" ]; then
            printf '%-30s skipped     %s (%s)\n' "$mutant" "$check" "$where"
            continue
        fi
        total=$((total + 1))
        if mutants_caught "$where" "$check" "$LOCAL/log/mutants-$where.log"; then
            caught=$((caught + 1))
            printf '%-30s caught      %s (%s)\n' "$mutant" "$check" "$where"
        else
            printf '%-30s NOT CAUGHT  %s (%s)\n' "$mutant" "$check" "$where"
        fi
    done < <(mutants_table)
    while read -r mutant; do
        total=$((total + 1))
        printf '%-30s NOT CAUGHT  no check is named in dev.d/mutants.txt\n' "$mutant"
    done < <(mutants_unnamed)
    printf '%d / %d caught\n' "$caught" "$total"
    [ "$caught" -eq "$total" ]
}
