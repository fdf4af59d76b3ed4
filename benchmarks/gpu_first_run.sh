#!/usr/bin/env bash
# Everything that needs a GPU, on a machine that has one and this checkout, in about ten minutes: installs into an
# environment of its own, then doctor, tests, benchmarks and NVIDIA's sanitizer. A step that fails does not keep the next
# ones from running. Out: a folder with what every step said, summary.txt among it; code 0 when all went well.
#
#   benchmarks/gpu_first_run.sh [FOLDER]        by default gpu-results
#   FULL=1 benchmarks/gpu_first_run.sh          long samples in the benchmarks
#   PYTHON=python3.12 SANITIZER=/path/to/compute-sanitizer benchmarks/gpu_first_run.sh
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

mkdir -p "${1:-gpu-results}" || exit 1
results="$(cd "${1:-gpu-results}" && pwd)"
venv="$results/venv"
python="$venv/bin/python"
export NETC_CACHE_DIR="$results/cache"
summary="$results/summary.txt"
failed=0
: > "$summary"

# note NAME OUTCOME: a line of the summary.
note() {
    printf '%-28s %s\n' "$1" "$2" | tee -a "$summary"
}

# step NAME SECONDS COMMAND...: runs it for so long at most; what it says goes to NAME.log. Gives its code.
step() {
    local name="$1" limit="$2" begin code
    shift 2
    begin=$SECONDS
    timeout --kill-after=10 "$limit" "$@" > "$results/$name.log" 2>&1
    code=$?
    case $code in
        0) note "$name" "passed, $((SECONDS - begin)) s" ;;
        124 | 137) note "$name" "FAILED: not done after $limit s, see $name.log" ;;
        *) note "$name" "FAILED with code $code after $((SECONDS - begin)) s, see $name.log" ;;
    esac
    ((code == 0)) || failed=1
    return "$code"
}

finish() {
    local outcome="all steps passed"
    ((failed)) && outcome="some steps FAILED"
    note "in all" "$outcome, $SECONDS s; everything is in $results"
    exit "$failed"
}

# What there is: the driver is asked before anything is downloaded.

find_python() {
    local name
    for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
            echo "$name"
            return
        fi
    done
    return 1
}

base="$(find_python)" || {
    failed=1
    note python "FAILED: Python 3.11 or newer is needed; PYTHON=/path/to/it says where it is"
    finish
}

if ! device="$("$base" -B -c '
from netc.runtime.cuda.driver import MissingDevice, machine
import sys
try:
    found = machine()
except MissingDevice as error:
    sys.exit(f"no device: {error}; {error.help}")
print(found.version[0], found.name)' 2>&1)"; then
    failed=1
    note device "FAILED: $(tail -n 1 <<< "$device")"
    finish
fi
cuda="${device%% *}"
note device "${device#* }, its driver serves CUDA $cuda"
nvidia-smi > "$results/nvidia-smi.log" 2>&1
git rev-parse HEAD > "$results/commit.log" 2>&1

# The environment. PyTorch and JAX come in the builds for the driver's CUDA; without one of them its column says so.

# shellcheck disable=SC2329 # called by step
install() {
    local builds=https://download.pytorch.org/whl
    "$base" -m venv "$venv" || return 1
    "$python" -m pip install -q torch --index-url "$builds/cu$((cuda >= 13 ? 130 : 126))" ||
        echo "no PyTorch from $builds: what the usual index has is taken"
    if ((cuda >= 13)); then
        "$python" -m pip install -q -e ".[cuda,test,bench]"
    else # an earlier driver cannot load what NVRTC 13 makes
        "$python" -m pip install -q -e ".[test,bench]" cupy-cuda12x nvidia-cuda-nvrtc-cu12 &&
            "$python" -m pip uninstall -q -y nvidia-cuda-nvrtc
    fi
}
export base venv python cuda
export -f install
if ! step install 420 bash -c install; then
    finish
fi
step install-jax 180 "$python" -m pip install -q "jax[cuda$((cuda >= 13 ? 13 : 12))]"
"$python" -m pip freeze > "$results/packages.log" 2>&1

# Doctor, tests, benchmarks.

step doctor 60 "$venv/bin/netc" doctor
if ! grep -q '^gpu .*NVRTC' "$results/doctor.log"; then
    failed=1
    note gpu "FAILED: $(grep '^gpu' "$results/doctor.log")"
fi

workers=$(($(nproc) / 2))
workers=$((workers < 1 ? 1 : workers > 8 ? 8 : workers))
step tests 360 "$python" -m pytest -m gpu -n "$workers" -ra --durations=20 tests/cuda
if grep -q 'no CUDA device' "$results/tests.log"; then
    failed=1
    note tests "FAILED: they were skipped, see tests.log"
fi

options=(--device cuda --json "$results/benchmarks.json")
((${FULL:-0})) || options+=(--quick)
step benchmarks "$((${FULL:-0} ? 3600 : 360))" "$python" -m benchmarks "${options[@]}"
cat "$results/benchmarks.log"

# NVIDIA's sanitizer over a small run by every plan.

found="$(command -v compute-sanitizer || find /usr/local/cuda*/bin -name compute-sanitizer 2> /dev/null | tail -n 1)"
sanitizer="${SANITIZER-$found}"
if [[ -z $sanitizer ]]; then
    note sanitizer "not run: compute-sanitizer is not installed (it comes with the CUDA toolkit)"
    finish
fi

cat > "$results/sanitized.net" <<'NET'
net sanitized {
    input x: [1, 8, 8]
    conv2d(4, 3, padding = 1); relu; max_pool2d(2)
    flatten
    dropout(0.2)
    linear(5)
}
data {
    x = randn(40, 1, 8, 8)
    target = randn(40, 5)
    validation = 0.2
}
train {
    loss = mse_loss()
    optimizer = adam(lr = cosine_annealing(1e-2))
    batch = 8
    epochs = 2
}
NET
plans="$("$python" -c 'from netc.runtime.cuda.plans import Plan; print(*Plan)')"
for plan in $plans; do
    for tool in memcheck racecheck synccheck; do
        step "$tool-$plan" 90 "$sanitizer" --tool "$tool" --error-exitcode 9 "$python" "$venv/bin/netc" \
            train "$results/sanitized.net" --device cuda --plan "$plan" --quiet --out "$results/runs"
    done
done
finish
