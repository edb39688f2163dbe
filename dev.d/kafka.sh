# Local Apache Kafka in KRaft mode: jars from Maven Central, one or three brokers on loopback.
# Every cluster has a name, a directory, ports of its own, and pid files; what was started is
# stopped by exactly those pids, after a check that the pid still runs our properties file.

KAFKA_VERSION=4.3.1
KAFKA_JARS="$CACHE/kafka-$KAFKA_VERSION"

kafka_usage() {
    cat <<'HELP'
./dev kafka up     [--brokers 1|3] [--name NAME] [--dir DIR]   start; prints the bootstrap addresses
                   [--secure]                                  also a listener with TLS and SASL/PLAIN
./dev kafka down   [--name NAME | --all] [--dir DIR] [--keep]  stop and delete the data (--keep keeps it)
./dev kafka kill   [--name NAME] --broker I                    SIGKILL one broker; `up` starts it again
./dev kafka status [--name NAME]                               what runs, where
./dev kafka logs   [--name NAME]                               follow the brokers' logs
./dev kafka tool   CLASS ARGS...                               org.apache.kafka.tools.CLASS, e.g. TopicCommand
HELP
}

kafka_command() {
    local verb="${1:-help}"
    [ $# -gt 0 ] && shift
    if [ "$verb" = tool ]; then
        kafka_jars
        kafka_tool "$@"
        return
    fi
    KAFKA_NAME=default KAFKA_BROKERS="" KAFKA_DIR="" KAFKA_KEEP="" KAFKA_ALL="" KAFKA_ONE="" KAFKA_SECURE=""
    while [ $# -gt 0 ]; do
        case "$1" in
        --brokers) KAFKA_BROKERS="${2:?--brokers needs 1 or 3}" && shift 2 ;;
        --name) KAFKA_NAME="${2:?--name needs a name}" && shift 2 ;;
        --dir) KAFKA_DIR="${2:?--dir needs a directory}" && shift 2 ;;
        --broker) KAFKA_ONE="${2:?--broker needs a number}" && shift 2 ;;
        --keep) KAFKA_KEEP=1 && shift ;;
        --secure) KAFKA_SECURE=1 && shift ;;
        --all) KAFKA_ALL=1 && shift ;;
        *) die "kafka $verb: unknown argument '$1' (./dev kafka help)" ;;
        esac
    done
    : "${KAFKA_DIR:=$LOCAL/kafka/$KAFKA_NAME}"
    case "$verb" in
    up) kafka_up ;;
    down) kafka_down ;;
    kill) kafka_kill ;;
    status) kafka_status ;;
    logs) exec tail -n 50 -F "$KAFKA_DIR"/broker-*/server.log ;;
    help | -h | --help) kafka_usage ;;
    *)
        kafka_usage >&2
        die "kafka: unknown verb '$verb'"
        ;;
    esac
}

# Brings Kafka's jars into the cache, once per version, whoever asks at the same time.
kafka_jars() {
    [ -e "$KAFKA_JARS/.complete" ] && return
    command -v java >/dev/null && command -v mvn >/dev/null ||
        die "java and mvn are needed for Kafka: ./dev setup installs them"
    mkdir -p "$CACHE"
    (
        flock 9
        [ -e "$KAFKA_JARS/.complete" ] && exit 0
        say "fetching Apache Kafka $KAFKA_VERSION from Maven Central into $KAFKA_JARS"
        rm -rf "$KAFKA_JARS"
        mvn -q -B -f "$ROOT/dev.d/kafka/pom.xml" dependency:copy-dependencies \
            -Dkafka.version="$KAFKA_VERSION" -DincludeScope=runtime \
            -DoutputDirectory="$KAFKA_JARS" >&2
        touch "$KAFKA_JARS/.complete"
    ) 9>"$CACHE/kafka-$KAFKA_VERSION.lock"
}

# Runs one of Kafka's command line tools: by class name in kafka-tools, or by its full name.
kafka_tool() {
    local class="${1:?a class, for example TopicCommand}"
    shift
    case "$class" in *.*) ;; *) class="org.apache.kafka.tools.$class" ;; esac
    java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$KAFKA_JARS/*" "$class" "$@"
}

# A port below the ephemeral range on which nobody listens now and which is not in the list given.
kafka_free_port() {
    local port
    while :; do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        case " $* " in *" $port "*) continue ;; esac
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# A key and a certificate that signs itself, for every broker of the cluster: secure/ca.pem is what
# clients trust.
kafka_certificate() {
    local secure="$KAFKA_DIR/secure"
    command -v openssl >/dev/null || die "openssl is needed for --secure"
    mkdir -p "$secure"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
        -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 \
        -keyout "$secure/key.pem" -out "$secure/ca.pem" >"$secure/openssl.log" 2>&1 ||
        die "no certificate: $secure/openssl.log"
    cat "$secure/key.pem" "$secure/ca.pem" >"$secure/keystore.pem"
    : >"$secure/ports"
}

# Appends the listener SECURE (TLS, SASL/PLAIN, user tidemill) to the properties file $1.
kafka_secure() {
    local secure="$KAFKA_DIR/secure" address="SECURE://127.0.0.1:$2"
    sed -i -e "s|^\(advertised\.\)\{0,1\}listeners=.*|&,$address|" \
        -e "s|^listener.security.protocol.map=.*|&,SECURE:SASL_SSL|" "$1"
    cat >>"$1" <<PROPERTIES
sasl.enabled.mechanisms=PLAIN
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_tidemill="tidemill-secret";
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location=$secure/keystore.pem
PROPERTIES
    echo "$2" >>"$secure/ports"
}

# Writes the properties of all brokers (with $KAFKA_PROPERTIES over ours) and formats their
# directories.
kafka_format() {
    local n="$1" replication="$1" isr=1 i voters="" used="" port cluster
    [ "$n" -eq 3 ] && isr=2
    local -a ports cports
    for ((i = 1; i <= n; i++)); do
        port=$(kafka_free_port "$used") && used="$used $port" && ports[i]=$port
        port=$(kafka_free_port "$used") && used="$used $port" && cports[i]=$port
        voters="$voters${voters:+,}$i@127.0.0.1:${cports[i]}"
    done
    cluster="T$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 2-22)"
    [ -z "$KAFKA_SECURE" ] || kafka_certificate
    local -a formats=()
    for ((i = 1; i <= n; i++)); do
        local dir="$KAFKA_DIR/broker-$i"
        mkdir -p "$dir"
        cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=$i
listeners=PLAINTEXT://127.0.0.1:${ports[i]},CONTROLLER://127.0.0.1:${cports[i]}
advertised.listeners=PLAINTEXT://127.0.0.1:${ports[i]}
controller.listener.names=CONTROLLER
controller.quorum.voters=$voters
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/data
offsets.topic.replication.factor=$replication
transaction.state.log.replication.factor=$replication
share.coordinator.state.topic.replication.factor=$replication
default.replication.factor=$replication
transaction.state.log.min.isr=$isr
share.coordinator.state.topic.min.isr=$isr
min.insync.replicas=$isr
offsets.topic.num.partitions=8
transaction.state.log.num.partitions=8
group.initial.rebalance.delay.ms=0
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
auto.create.topics.enable=false
${KAFKA_PROPERTIES:-}
PROPERTIES
        if [ -n "$KAFKA_SECURE" ]; then
            port=$(kafka_free_port "$used") && used="$used $port"
            kafka_secure "$dir/server.properties" "$port"
        fi
        echo "${ports[i]}" >"$dir/port"
        kafka_tool kafka.tools.StorageTool format -t "$cluster" -c "$dir/server.properties" \
            >"$dir/format.log" 2>&1 &
        formats+=($!)
    done
    for i in "${formats[@]}"; do
        wait "$i" || die "formatting failed: $KAFKA_DIR/broker-*/format.log"
    done
    echo "$n" >"$KAFKA_DIR/brokers"
}

# The pid of broker directory $1 if it runs and is ours; fails otherwise.
kafka_pid() {
    local pid words
    pid=$(cat "$1/pid" 2>/dev/null) && [ -n "$pid" ] || return 1
    words=" $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline")" 2>/dev/null || return 1
    case "$words" in *" $1/server.properties "*) echo "$pid" ;; *) return 1 ;; esac
}

kafka_start() {
    local dir="$1"
    rm -f "$dir/pid"
    # A session of its own, so that Ctrl-C on ./dev does not race with the orderly stop.
    # shellcheck disable=SC2086 # several flags
    setsid java ${KAFKA_JVM:--Xmx512m -Xms128m -XX:+UseG1GC -XX:TieredStopAtLevel=1} \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
        -Dorg.slf4j.simpleLogger.showDateTime=true \
        -cp "$KAFKA_JARS/*" kafka.Kafka "$dir/server.properties" \
        >>"$dir/server.log" 2>&1 </dev/null 9>&- &
    echo $! >"$dir/pid"
    disown # no word from the shell when it is killed
    # Until the child has become java, its command line is still this script's.
    local try
    for try in 1 2 3 4 5 6 7 8 9 10; do
        kafka_pid "$dir" >/dev/null && return
        sleep 0.05
    done
}

# How many brokers the metadata of the broker at port $1 lists: a Metadata v1 request for no topics,
# whose answer is size, correlation id, then the length of the list of brokers.
kafka_listed() {
    local answer
    answer=$(
        exec 2>/dev/null 3<>"/dev/tcp/127.0.0.1/$1" || exit 0
        printf '\0\0\0\016\0\003\0\001\0\0\0\001\377\377\0\0\0\0' >&3
        timeout 2 head -c 12 <&3 | od -An -v -tx1 | tr -d ' \n'
    ) || true
    [ ${#answer} -eq 24 ] && echo $((16#${answer:16:8})) || echo 0
}

kafka_bootstrap() {
    local dir list=""
    for dir in "$KAFKA_DIR"/broker-*; do
        list="$list${list:+,}127.0.0.1:$(cat "$dir/port")"
    done
    echo "$list"
}

# Waits until every broker lists all brokers. 0: ready, 1: a broker died, 2: out of time.
kafka_ready() {
    local n="$1" deadline=$((SECONDS + 120)) dir
    for dir in "$KAFKA_DIR"/broker-*; do
        until [ "$(kafka_listed "$(cat "$dir/port")")" -eq "$n" ]; do
            kafka_pid "$dir" >/dev/null || return 1
            [ $SECONDS -lt $deadline ] || return 2
            sleep 0.1
        done
    done
}

kafka_up() {
    kafka_jars
    mkdir -p "$KAFKA_DIR"
    KAFKA_DIR="$(cd "$KAFKA_DIR" && pwd -P)"
    local lock="$KAFKA_DIR.lock" attempt n dir ready
    exec 9>"$lock"
    flock 9
    for attempt in 1 2 3; do
        if [ -e "$KAFKA_DIR/brokers" ]; then
            n=$(cat "$KAFKA_DIR/brokers")
            [ -z "$KAFKA_BROKERS" ] || [ "$KAFKA_BROKERS" -eq "$n" ] ||
                die "cluster '$KAFKA_NAME' has $n brokers, not $KAFKA_BROKERS: ./dev kafka down first"
        else
            n="${KAFKA_BROKERS:-1}"
            case "$n" in 1 | 3) ;; *) die "--brokers is 1 or 3, not $n" ;; esac
            kafka_format "$n"
        fi
        for dir in "$KAFKA_DIR"/broker-*; do
            kafka_pid "$dir" >/dev/null || kafka_start "$dir"
        done
        ready=0
        kafka_ready "$n" || ready=$?
        if [ $ready -eq 0 ]; then
            touch "$KAFKA_DIR/served"
            say "Apache Kafka $KAFKA_VERSION, $n broker(s), in $KAFKA_DIR"
            [ ! -e "$KAFKA_DIR/secure/ports" ] ||
                say "TLS and SASL/PLAIN (tidemill, tidemill-secret) on 127.0.0.1:$(paste -sd, "$KAFKA_DIR/secure/ports"), certificate $KAFKA_DIR/secure/ca.pem"
            kafka_bootstrap
            exec 9>&- # whoever restarts a broker of this cluster later takes the lock again
            return
        fi
        # A port was taken between the look and the bind: other ports, but never other data.
        if [ $ready -eq 1 ] && grep -qs 'Address already in use' "$KAFKA_DIR"/broker-*/server.log &&
            [ ! -e "$KAFKA_DIR/served" ]; then
            say "a port was taken meanwhile; once more with others"
            kafka_stop_all
            rm -rf "$KAFKA_DIR"/broker-* "$KAFKA_DIR/brokers" "$KAFKA_DIR/secure"
            continue
        fi
        tail -n 20 "$KAFKA_DIR"/broker-*/server.log >&2 || true
        kafka_stop_all
        die "Kafka did not start (logs above are from $KAFKA_DIR)"
    done
    die "Kafka did not start: no free ports in three attempts"
}

# Stops every broker of $KAFKA_DIR and waits for it; SIGKILL after 20 seconds.
kafka_stop_all() {
    local dir pid deadline=$((SECONDS + 20))
    for dir in "$KAFKA_DIR"/broker-*; do
        pid=$(kafka_pid "$dir") && kill -CONT "$pid" && kill "$pid" || true
    done
    for dir in "$KAFKA_DIR"/broker-*; do
        while pid=$(kafka_pid "$dir"); do
            [ $SECONDS -lt $deadline ] || kill -KILL "$pid" 2>/dev/null || true
            sleep 0.1
        done
        rm -f "$dir/pid"
    done
}

kafka_down() {
    if [ -n "$KAFKA_ALL" ]; then
        local brokers
        for brokers in "$LOCAL"/kafka/*/brokers; do
            [ -e "$brokers" ] || continue
            KAFKA_DIR="${brokers%/brokers}" KAFKA_ALL="" kafka_down
        done
        return
    fi
    [ -d "$KAFKA_DIR" ] || {
        say "no cluster in $KAFKA_DIR"
        return
    }
    KAFKA_DIR="$(cd "$KAFKA_DIR" && pwd -P)"
    # Data that is thrown away needs no orderly shutdown, which takes three brokers ten seconds.
    if [ -z "$KAFKA_KEEP" ]; then
        local dir pid
        for dir in "$KAFKA_DIR"/broker-*; do
            pid=$(kafka_pid "$dir") && kill -KILL "$pid" || true
        done
    fi
    kafka_stop_all
    [ -n "$KAFKA_KEEP" ] || rm -rf "$KAFKA_DIR"/broker-* "$KAFKA_DIR/brokers" "$KAFKA_DIR/served" "$KAFKA_DIR/secure"
    [ -n "$KAFKA_KEEP" ] || rmdir "$KAFKA_DIR" 2>/dev/null && rm -f "$KAFKA_DIR.lock" || true
    say "stopped $KAFKA_DIR"
}

kafka_kill() {
    local pid
    KAFKA_DIR="$(cd "$KAFKA_DIR" && pwd -P)"
    pid=$(kafka_pid "$KAFKA_DIR/broker-${KAFKA_ONE:?--broker I}") ||
        die "broker $KAFKA_ONE of '$KAFKA_NAME' does not run"
    kill -KILL "$pid"
    while kafka_pid "$KAFKA_DIR/broker-$KAFKA_ONE" >/dev/null; do sleep 0.05; done
}

kafka_status() {
    [ -e "$KAFKA_DIR/brokers" ] || {
        echo "$KAFKA_NAME: not there"
        return 1
    }
    KAFKA_DIR="$(cd "$KAFKA_DIR" && pwd -P)"
    local dir pid n failed=0
    n=$(cat "$KAFKA_DIR/brokers")
    for dir in "$KAFKA_DIR"/broker-*; do
        if pid=$(kafka_pid "$dir"); then
            echo "$KAFKA_NAME: ${dir##*/} 127.0.0.1:$(cat "$dir/port") pid $pid, lists $(kafka_listed "$(cat "$dir/port")") of $n brokers"
        else
            echo "$KAFKA_NAME: ${dir##*/} stopped"
            failed=1
        fi
    done
    return $failed
}
