// AdamW over flat states, and the global norm of the gradients that clips it. See `adamw.rs` for the formula.
//
// Two launches. `gradient_norm` leaves one sum of squares for each of its blocks; `adamw` adds these up, every block in
// the same order, and updates. The f32 weights are the master; their bf16 copy is rounded from them to the nearest, so
// nothing small is ever lost to rounding and no random bits are drawn. Bytes moved: those of the gradients; then, for
// each weight, its gradient, and 12 read and 12 written, and 2 written for the bf16 copy.

template <class G>
__device__ inline void gradient_norm(const G *__restrict__ grads, double *__restrict__ partials, u64 n)
{
    double squares = 0;
    const u64 first = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    visit(grads, n, first, (u64)gridDim.x * blockDim.x, [&](u64, const auto &xs) {
        for (float x : xs)
            squares += (double)x * (double)x;
    });
    squares = block_sum(squares);
    if (threadIdx.x == 0)
        partials[blockIdx.x] = squares;
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS)
    gradient_norm_f32(const float *grads, double *partials, u64 n)
{
    gradient_norm(grads, partials, n);
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS)
    gradient_norm_bf16(const bf16 *grads, double *partials, u64 n)
{
    gradient_norm(grads, partials, n);
}

// The numbers of one update, in the order in which the kernel takes them.
struct Step {
    float decay, step, root, beta1, beta2, rest1, rest2, eps, scale;
};

__device__ inline void update(float &w, float g, float &m, float &v, const Step &s)
{
    g *= s.scale;
    m = s.beta1 * m + s.rest1 * g;
    v = s.beta2 * v + s.rest2 * g * g;
    w = w * s.decay - s.step * m / (sqrtf(v) * s.root + s.eps);
}

struct alignas(8) Bf16x4 {
    bf16 lanes[4];
};

__device__ inline void load4(const float *from, float (&to)[4])
{
    float4 x = *(const float4 *)from;
    to[0] = x.x, to[1] = x.y, to[2] = x.z, to[3] = x.w;
}

__device__ inline void load4(const bf16 *from, float (&to)[4])
{
    Bf16x4 x = *(const Bf16x4 *)from;
#pragma unroll
    for (int k = 0; k < 4; k++)
        to[k] = to_float(x.lanes[k]);
}

__device__ inline void store4(float *to, const float (&x)[4])
{
    *(float4 *)to = make_float4(x[0], x[1], x[2], x[3]);
}

__device__ inline void store4(bf16 *to, const float (&x)[4])
{
    Bf16x4 out;
#pragma unroll
    for (int k = 0; k < 4; k++)
        store(out.lanes[k], x[k]);
    *(Bf16x4 *)to = out;
}

template <class G>
__device__ inline void adamw(float *__restrict__ master, bf16 *__restrict__ weights, const G *__restrict__ grads,
                             float *__restrict__ ms, float *__restrict__ vs, u64 n, const Step &s)
{
    const u64 first = (u64)blockIdx.x * blockDim.x + threadIdx.x, step = (u64)gridDim.x * blockDim.x;
    // Slices of one offset into the flat states are aligned together or not at all.
    const bool aligned =
        (((u64)master | (u64)ms | (u64)vs) & 15) == 0 && (u64)grads % (4 * sizeof(G)) == 0 && (u64)weights % 8 == 0;
    const u64 quads = aligned ? n / 4 : 0;
    for (u64 q = first; q < quads; q += step) {
        float w[4], g[4], m[4], v[4];
        load4(master + 4 * q, w), load4(grads + 4 * q, g), load4(ms + 4 * q, m), load4(vs + 4 * q, v);
#pragma unroll
        for (int k = 0; k < 4; k++)
            update(w[k], g[k], m[k], v[k], s);
        store4(master + 4 * q, w), store4(ms + 4 * q, m), store4(vs + 4 * q, v);
        if (weights)
            store4(weights + 4 * q, w);
    }
    for (u64 i = 4 * quads + first; i < n; i += step) {
        update(master[i], to_float(grads[i]), ms[i], vs[i], s);
        if (weights)
            store(weights[i], master[i]);
    }
}

// The norm of the gradients from the blocks' sums. If it is not finite, nothing is updated: the caller finds it in
// `norm` and knows. `weights` may be null.
template <class G>
__device__ inline void clipped_adamw(float *master, bf16 *weights, const G *grads, float *ms, float *vs,
                                     const double *partials, double *norm, u64 n, u64 blocks, double max_norm, Step s)
{
    double squares = 0;
    for (u64 b = threadIdx.x; b < blocks; b += blockDim.x)
        squares += partials[b];
    const double length = sqrt(block_sum(squares));
    if (blockIdx.x == 0 && threadIdx.x == 0)
        *norm = length;
    // Neither NaN nor infinity is below this.
    if (!(length < 1e300))
        return;
    const double scale = max_norm / (length + 1e-6);
    s.scale = (float)(scale < 1.0 ? scale : 1.0);
    adamw(master, weights, grads, ms, vs, n, s);
}

#define ADAMW(NAME, G)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(MAX_THREADS)                                                           \
        NAME(float *master, bf16 *weights, const G *grads, float *ms, float *vs, const double *partials, double *norm, \
             u64 n, u64 blocks, double max_norm, float decay, float step, float root, float beta1, float beta2,        \
             float rest1, float rest2, float eps)                                                                       \
    {                                                                                                                   \
        Step s = {decay, step, root, beta1, beta2, rest1, rest2, eps, 1.0f};                                            \
        clipped_adamw(master, weights, grads, ms, vs, partials, norm, n, blocks, max_norm, s);                          \
    }

ADAMW(adamw_f32, float)
ADAMW(adamw_bf16, bf16)
