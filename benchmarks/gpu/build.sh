#!/usr/bin/env bash
# Builds the programs for a machine with a GPU, on one that needs neither a GPU nor a driver nor CUDA's toolkit.
#
#     benchmarks/gpu/build.sh            with candle's CUDA backend; nvcc and headers come from PyPI, into target/cuda
#     benchmarks/gpu/build.sh --kernels  with the project's kernels alone, which are compiled where they run
#
# CUDA_COMPUTE_CAP is the card's compute capability, 90 (H100, H200) if left out.
set -euo pipefail
cd "$(dirname "$0")/../.."

# A folder of its own: with other flags than an everyday build has, the two would undo one another.
target=$PWD/target/gpu

build() {
    features=$1
    shift
    cargo build --release --workspace --features "toolr0-cli/$features" --target-dir "$target" --bin toolr0 "$@"
    echo "built: $target/release/toolr0, and what benchmarks/gpu/run.sh takes in $target/release/examples"
}

if [ "${1:-}" = --kernels ]; then
    build cuda --example gpu_kernels
    exit
fi

site=$PWD/target/cuda
if ! [ -d "$site/nvidia" ]; then
    python3 -m pip install --quiet --no-deps --target "$site" \
        'nvidia-cuda-nvcc==13.0.*' 'nvidia-nvvm==13.0.*' 'nvidia-cuda-crt==13.0.*' 'nvidia-cuda-runtime==13.0.*' \
        'nvidia-cuda-cccl==13.0.*' 'nvidia-cuda-nvrtc==13.0.*' 'nvidia-cublas==13.0.*' 'nvidia-curand==10.4.*'
fi
root=$(echo "$site"/nvidia/cu1*)

# The wheels hold versioned libraries in `lib`; a linker asks for `libX.so` in `lib64`.
ln -sfn lib "$root/lib64"
for library in "$root"/lib/lib*.so.*; do
    name=${library%%.so.*}.so
    [ -e "$name" ] || ln -s "$(basename "$library")" "$name"
done
# The driver belongs to the machine that has the card: something to link against, with its names, never to ship.
if ! [ -e "$root/lib/stubs/libcuda.so" ]; then
    mkdir -p "$root/lib/stubs"
    grep -oh '\bcu[A-Z][A-Za-z0-9_]*' "$root/include/cuda.h" | sort -u | sed 's/.*/void &(void) {}/' |
        cc -shared -x c - -Wl,-soname,libcuda.so.1 -o "$root/lib/stubs/libcuda.so"
fi
chmod +x "$root"/bin/* 2>/dev/null || true

export CUDA_HOME=$root CUDA_PATH=$root CUDA_ROOT=$root CUDA_TOOLKIT_ROOT_DIR=$root
export PATH=$root/bin:$PATH CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90}
export LIBRARY_PATH=$root/lib:$root/lib/stubs${LIBRARY_PATH:+:$LIBRARY_PATH}
# Instead of this processor's own instructions, which .cargo/config.toml asks for: the program runs on another.
export RUSTFLAGS=${RUSTFLAGS:--C target-cpu=x86-64-v3}
build candle-cuda --example gpu_kernels --example gpu_loop
