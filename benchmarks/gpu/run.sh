#!/usr/bin/env bash
# The table of docs/src/gpu.md on this machine's GPU. Nothing is built here: the argument is the program that
#
#     cargo build --release --package toolr0-rl --features cuda --example gpu_kernels
#
# left in target/release/examples on any machine. Needed here: NVIDIA's driver, and libnvrtc (of the CUDA toolkit, or of
# the PyPI package nvidia-cuda-nvrtc with its folder in LD_LIBRARY_PATH).
#
#     benchmarks/gpu/run.sh path/to/gpu_kernels
set -euo pipefail

program=${1:?"usage: benchmarks/gpu/run.sh path/to/gpu_kernels"}
if ! [ -x "$program" ]; then
    echo "error: $program is not a program" >&2
    exit 1
fi
if command -v nvidia-smi >/dev/null; then
    # Other work on the card would make the table worthless.
    nvidia-smi --query-gpu=name,driver_version,utilization.gpu,clocks.sm,clocks.mem --format=csv
else
    echo "note: nvidia-smi is not here, so nothing is known of other work on the card" >&2
fi
exec "$program"
