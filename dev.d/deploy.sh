# Checks of what Tidemill is deployed with: chart, compose file, image. Nothing is started: there
# need be no Docker and no cluster here.

CHART="$ROOT/charts/tidemill"

chart_render() {
    "$HELM" template release "$CHART" --kube-version "$KUBERNETES_VERSION" "$@"
}

# Renders with the given arguments, and holds every object against Kubernetes' own schemas.
chart_conforms() {
    chart_render "$@" | "$KUBECONFORM" -strict -summary -skip PodMonitor \
        -schema-location "$SCHEMAS/{{.ResourceKind}}{{.KindSuffix}}.json" -
}

# A rendered chart with one field misspelt: the check above has to see it.
chart_misspelt() {
    chart_render | sed 's/podManagementPolicy/podManagmentPolicy/' | "$KUBECONFORM" -strict \
        -schema-location "$SCHEMAS/{{.ResourceKind}}{{.KindSuffix}}.json" -
}

chart_contains() {
    local text="$1"
    shift
    [[ "$(chart_render "$@")" == *"$text"* ]]
}

# Values that use every part of the chart.
chart_full_values() {
    cat <<'VALUES'
replicas: 5
settings:
  application-id: counts
  threads: 2
  kafka:
    bootstrap-servers: a:9092,b:9092
    properties:
      security.protocol: SASL_SSL
      sasl.password: { file: /etc/secrets/password }
  epoch: { interval: 250ms, max-records: 500000, max-bytes: 32 MiB }
  state: { spill-bytes: 128 MiB }
podMonitor: { enabled: true, labels: { release: prometheus } }
extraEnv: [{ name: RUST_BACKTRACE, value: "1" }]
extraVolumes: [{ name: secrets, secret: { secretName: kafka } }]
extraVolumeMounts: [{ name: secrets, mountPath: /etc/secrets, readOnly: true }]
podAnnotations: { team: streams }
nodeSelector: { disk: ssd }
tolerations: [{ key: dedicated, operator: Exists }]
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
VALUES
}

test_chart() {
    local full="$LOCAL/chart-values.yaml"
    chart_full_values >"$full"
    check "helm lint" "$HELM" lint --strict "$CHART"
    check "helm lint with every value" "$HELM" lint --strict "$CHART" -f "$full"
    check "the default objects conform to Kubernetes $KUBERNETES_VERSION" chart_conforms
    check "the objects with every value conform" chart_conforms -f "$full"
    check_refused "a misspelt field of an object" podManagmentPolicy chart_misspelt
    check_refused "a misspelt value" replica chart_render --set replica=2
    check_refused "a misspelt setting" bootstrap-server chart_render --set settings.kafka.bootstrap-server=x
    check_refused "a setting that is the chart's" instance-id chart_render --set settings.instance-id=x
    check_refused "a duration without a unit" "does not match pattern" chart_render --set-string settings.epoch.interval=100
    check "the instance id is the pod's name" chart_contains "fieldPath: metadata.name"
    check "a whole number stays whole" chart_contains '"threads" = 2
' -f "$full"
    check "a property with dots is one key" chart_contains '["kafka"."properties"."sasl.password"]
    "file" = "/etc/secrets/password"' -f "$full"
    check "the chart knows Tidemill's settings, and no others" \
        python3 "$ROOT/dev.d/chart_settings.py" "$CHART/values.schema.json" "$ROOT/docs/SETTINGS.md"
    check "a monitor appears when asked for" chart_contains "kind: PodMonitor" -f "$full"
    check_refused "and not otherwise" "" chart_contains "kind: PodMonitor"
    check_result
}

compose_broken() {
    sed "$1" "$ROOT/docker-compose.yml" | "$COMPOSE" --project-directory "$ROOT" -f - config -q
}

prometheus_misspelt() {
    sed 's/scrape_interval/scrape_intervall/' "$ROOT/deploy/prometheus.yml" >"$LOCAL/prometheus.yml"
    "$PROMTOOL" check config "$LOCAL/prometheus.yml"
}

# Images by a name that moves (latest, none) are another image tomorrow.
images_pinned() {
    ! sed -n 's/^ *image: *//p; s/^FROM \([^ ]*\).*/\1/p' "$ROOT/docker-compose.yml" "$ROOT/Dockerfile" |
        grep -E -v ':[^:]*[0-9]+\.[0-9]+|^tidemill:local$'
}

test_compose() {
    check "docker-compose.yml" "$COMPOSE" -f "$ROOT/docker-compose.yml" config -q
    check_refused "a misspelt key" "not allowed" compose_broken 's/restart:/restrat:/'
    check_refused "an undefined service" "undefined service" compose_broken 's/^      topics: {/      topic: {/'
    check "every image has a version" images_pinned
    if [ -n "$PROMTOOL" ]; then
        check "promtool reads deploy/prometheus.yml" "$PROMTOOL" check config "$ROOT/deploy/prometheus.yml"
        check_refused "a misspelt key of it" scrape_intervall prometheus_misspelt
    else
        echo "deploy/prometheus.yml: SKIPPED, there is no promtool, and no apt to fetch it by"
    fi
    check_result
}

# The RUN lines of the build stage from the first `cargo` on, with the build arguments set here.
image_run_lines() {
    sed -n '/AS build$/,/^FROM /p' "$ROOT/Dockerfile" | sed -n 's/^RUN //p' | sed -n '/^cargo/,$p'
}

# What the image's build can see: the names that .dockerignore lets through.
image_context() {
    local name
    rm -rf "$LOCAL/context" && mkdir -p "$LOCAL/context"
    while read -r name; do
        [ ! -e "$ROOT/$name" ] || cp -a "$ROOT/$name" "$LOCAL/context/"
    done < <(sed -n 's/^!//p' "$ROOT/.dockerignore")
}

image_build() {
    local line
    rm -rf "$LOCAL/image"
    image_context
    while read -r line; do
        echo "+ $line"
        (cd "$LOCAL/context" && PROFILE=dev OUT="$LOCAL/image" sh -ec "$line") </dev/null || return 1
    done < <(image_run_lines)
}

# Every library that the binary loads is of a package that the last stage has: by name, or because
# Debian's smallest image has it.
image_libraries() {
    local library package installed
    installed=$(sed -n '/AS build$/,$p' "$ROOT/Dockerfile" | grep -A1 '^FROM debian' | tail -n 1)
    ldd "$LOCAL/image/tidemill" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | while read -r library; do
        # With merged /usr the loader names /lib, and the package /lib or /usr/lib.
        package=$(dpkg -S "$library" 2>/dev/null || dpkg -S "/usr$library" 2>/dev/null) || {
            echo "$library is of no package"
            return 1
        }
        package=${package%%:*}
        case " libc6 libgcc-s1 $installed " in
        *" $package "*) echo "$library: $package" ;;
        *)
            echo "$library is of $package, which the image does not have"
            return 1
            ;;
        esac
    done
}

# What setup installs for a build and what the image's build stage installs is the same.
image_packages() {
    local package installed
    installed=" $(sed -n '/AS build$/,/^FROM /p' "$ROOT/Dockerfile" | sed -n 's/^RUN apt-get.*recommends //p') "
    for package in g++ make curl pkg-config libssl-dev zlib1g-dev libclang-dev; do
        [[ $installed == *" $package "* ]] && grep -qE "echo ${package//+/\\+}\$" "$ROOT/dev.d/setup.sh" || {
            echo "$package: not in both"
            return 1
        }
    done
}

# The settings file that the chart renders, read by the binary.
image_reads_chart() {
    local file="$LOCAL/chart-tidemill.toml"
    chart_full_values >"$LOCAL/chart-values.yaml"
    chart_render -f "$LOCAL/chart-values.yaml" -s templates/configmap.yaml |
        sed -n '/tidemill.toml: |/,$p' | sed "s/^    //; 1d; s#/etc/secrets/password#$LOCAL/secret#" >"$file"
    echo secret >"$LOCAL/secret"
    [ "$1" = whole ] || sed -i "$1" "$file"
    "$LOCAL/image/tidemill" validate word-count --config "$file"
}

# The image's build, run by hand with the dev profile in the shared target directory.
test_image() {
    check "the build stage and ./dev setup install the same" image_packages
    [ "$(image_run_lines | wc -l)" -ge 2 ] || die "no RUN lines found in Dockerfile"
    check "the build stage's RUN lines" image_build
    check "the image's binary runs" "$LOCAL/image/tidemill" --version
    if grep -qs '^VERSION_CODENAME=bookworm' /etc/os-release; then
        check "the image has its libraries" image_libraries
    else
        echo "the image has its libraries: SKIPPED, packages have other names here than in the image"
    fi
    check "the binary reads the chart's settings" image_reads_chart whole
    check_refused "and refuses them misspelt" spill-byte image_reads_chart 's/spill-bytes/spill-byte/'
    check_result
}
