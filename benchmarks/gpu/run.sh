#!/usr/bin/env bash
# The tables of docs/src/gpu.md on this machine's GPU. Nothing is built here: the argument is the folder of the programs
# that benchmarks/gpu/build.sh left in target/gpu/release/examples on any machine, `gpu_kernels` and `gpu_loop`. One that is
# not there is passed over, with its rows. Needed here: NVIDIA's driver and CUDA's libraries (of the toolkit, or of the PyPI
# packages nvidia-cuda-nvrtc, nvidia-cublas and nvidia-curand with their folders in LD_LIBRARY_PATH).
#
#     benchmarks/gpu/run.sh path/to/examples [PYTHON]
#
# PYTHON has torch, transformers and TRL; `python3` if left out. Where it has none of them, the rows beside them are ours
# alone. GPU_WORK is a folder for two random checkpoints of 4 GB, a temporary one if left out. With SANITIZE=1 the kernels
# run once more under compute-sanitizer, if that is here.
set -euo pipefail

programs=${1:?"usage: benchmarks/gpu/run.sh path/to/examples [PYTHON]"}
python=${2:-python3}
here=$(cd "$(dirname "$0")" && pwd)
if ! [ -x "$programs/gpu_kernels" ] && ! [ -x "$programs/gpu_loop" ]; then
    echo "error: neither gpu_kernels nor gpu_loop is in $programs" >&2
    exit 1
fi
if command -v nvidia-smi >/dev/null; then
    # Other work on the card would make the tables worthless.
    nvidia-smi --query-gpu=name,driver_version,utilization.gpu,memory.used,clocks.sm,clocks.mem --format=csv
else
    echo "note: nvidia-smi is not here, so nothing is known of other work on the card" >&2
fi

# A number of a JSON object.
field() {
    sed -n "s/.*\"$1\": *\([^],}]*\).*/\1/p" <<<"$2" | head -n 1
}
# A division, or nothing where a side is missing.
over() {
    awk -v a="${1:-}" -v b="${2:-}" 'BEGIN { if (a != "" && b != "" && b + 0 != 0) printf "%.2f", a / b }'
}

if [ -x "$programs/gpu_kernels" ]; then
    echo
    "$programs/gpu_kernels"
    if [ -n "${SANITIZE:-}" ]; then
        if command -v compute-sanitizer >/dev/null; then
            compute-sanitizer --error-exitcode 1 "$programs/gpu_kernels" >/dev/null
            echo "compute-sanitizer: clean"
        else
            echo "note: compute-sanitizer is not here" >&2
        fi
    fi
fi
[ -x "$programs/gpu_loop" ] || exit 0

work=${GPU_WORK:-}
if [ -z "$work" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi
[ -e "$work/1.5b/config.json" ] || "$programs/gpu_loop" checkpoints "$work"
peer=
if "$python" -c 'import torch, transformers, trl, datasets; assert torch.cuda.is_available()' 2>/dev/null; then
    peer=1
else
    echo "note: $python has no torch with CUDA, transformers and TRL: no rows beside them" >&2
fi

# Work that fails leaves its cells empty and says why on stderr; the rest goes on.
ours() { "$programs/gpu_loop" "$@" || echo "note: gpu_loop $* failed" >&2; }
theirs() { [ -z "$peer" ] || "$python" "$here/peer.py" "$@" || echo "note: peer.py $* failed" >&2; }

echo
echo "| what | measured | bar |"
echo "| --- | --- | --- |"
answer=$(ours head)
echo "| loss, forward and backward, memory over weights and gradients, MiB | $(field more_mib "$answer") | 1536 |"
echo "| the same, seconds | $(field seconds "$answer") | |"
for size in 0.5b 1.5b; do
    for what in sample step; do
        own=$(ours "$what" "$work/$size")
        other=$(theirs "$what" "$work/$size")
        a=$(field seconds "$own") b=$(field seconds "$other")
        m=$(field peak_mib "$own") n=$(field peak_mib "$other")
        echo "| $size $what, seconds | $a | |"
        echo "| $size $what, seconds of transformers + TRL | $b | |"
        echo "| $size $what, times as fast | $(over "$b" "$a") | 2 |"
        echo "| $size $what, peak MiB | $m | |"
        echo "| $size $what, share of the peer's $n MiB | $(over "$m" "$n") | 0.5 |"
    done
done
answer=$(ours gap "$work/0.5b")
echo "| 0.5b, bf16: sampler and trainer apart, nats on average | $(field mean_gap "$answer") | 0.001 |"
answer=$(ours bits "$work/0.5b")
echo "| 0.5b, bf16: two runs of 5 steps end in the same bits | $(field same_bits "$answer") | true |"
