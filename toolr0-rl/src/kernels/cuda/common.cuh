// What the kernels share. It stands before each of them when they are compiled, by NVRTC for a device and by a C++
// compiler for the tests. No header of the CUDA toolkit is needed: a machine that runs the kernels rarely has any.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define FLOAT_MAX 3.402823466e+38f
#define LOG2_E 1.4426950408889634
#define LN_2 0.6931471805599453
#define WARP 32
#define ALL_LANES 0xffffffffu

// Most threads of a block; a multiple of WARP. `launch.rs` has the same numbers.
#define MAX_THREADS 512
// As many to a row of logits in every kernel, so that all of them add up in one order and find the same bits. Two such
// blocks of the loss share the registers of a multiprocessor: while one thread of the one computes, the others read.
#define MAX_ROW_THREADS 320

// ---- numbers of 16 bits -------------------------------------------------------------------------------------------

struct bf16 {
    u16 bits;
};
struct f16 {
    u16 bits;
};

#ifdef __CUDACC__
__device__ inline float half_to_float(u16 bits)
{
    float x;
    asm("{ cvt.f32.f16 %0, %1; }" : "=f"(x) : "h"(bits));
    return x;
}

__device__ inline u16 float_to_half(float x)
{
    u16 bits;
    asm("{ cvt.rn.f16.f32 %0, %1; }" : "=h"(bits) : "f"(x));
    return bits;
}
#endif

__device__ inline float to_float(float x)
{
    return x;
}

__device__ inline float to_float(bf16 x)
{
    return __uint_as_float((u32)x.bits << 16);
}

__device__ inline float to_float(f16 x)
{
    return half_to_float(x.bits);
}

__device__ inline void store(float &to, float x)
{
    to = x;
}

// To the nearest, ties to even; a NaN stays one.
__device__ inline void store(bf16 &to, float x)
{
    u32 bits = __float_as_uint(x);
    bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    to.bits = (u16)((nan ? bits | 0x00400000u : bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

__device__ inline void store(f16 &to, float x)
{
    to.bits = float_to_half(x);
}

// ---- values in memory, 16 bytes at a time -------------------------------------------------------------------------

template <class T> union Word {
    static const int LANES = 16 / sizeof(T);
    uint4 raw;
    T lanes[LANES];
};

// `n` values that may begin anywhere: those before the first 16-byte boundary, whole words, and the rest. The words
// are loaded and stored whole, so a row of any length at any address is moved at the full width but for its ends.
template <class T> struct Split {
    u64 head, words, tail;

    __device__ Split(const T *at, u64 n)
    {
        head = ((16 - ((u64)at & 15)) & 15) / sizeof(T);
        head = head < n ? head : n;
        words = (n - head) / Word<T>::LANES;
        tail = head + words * Word<T>::LANES;
    }
};

// Calls `f(first index, values)` on all `n` values, as float[LANES] or float[1]; of `step` threads this is `first`.
template <class T, class F> __device__ inline void visit(const T *at, u64 n, u64 first, u64 step, F f)
{
    const int lanes = Word<T>::LANES;
    Split<T> split(at, n);
    for (u64 i = first; i < split.head; i += step) {
        float one[1] = {to_float(at[i])};
        f(i, one);
    }
    const uint4 *words = (const uint4 *)(at + split.head);
    // The next word is on its way while this one is worked on.
    uint4 ahead = {0, 0, 0, 0};
    if (first < split.words)
        ahead = words[first];
    for (u64 w = first; w < split.words; w += step) {
        Word<T> word;
        word.raw = ahead;
        if (w + step < split.words)
            ahead = words[w + step];
        float many[lanes];
#pragma unroll
        for (int k = 0; k < lanes; k++)
            many[k] = to_float(word.lanes[k]);
        f(split.head + w * lanes, many);
    }
    for (u64 i = split.tail + first; i < n; i += step) {
        float one[1] = {to_float(at[i])};
        f(i, one);
    }
}

// Replaces each of `n` values by `f(value)`; this is thread `first` of `step`.
template <class T, class F> __device__ inline void replace(T *at, u64 n, u64 first, u64 step, F f)
{
    const int lanes = Word<T>::LANES;
    Split<T> split(at, n);
    for (u64 i = first; i < split.head; i += step)
        store(at[i], f(to_float(at[i])));
    uint4 *words = (uint4 *)(at + split.head);
    for (u64 w = first; w < split.words; w += step) {
        Word<T> word;
        word.raw = words[w];
#pragma unroll
        for (int k = 0; k < lanes; k++)
            store(word.lanes[k], f(to_float(word.lanes[k])));
        words[w] = word.raw;
    }
    for (u64 i = split.tail + first; i < n; i += step)
        store(at[i], f(to_float(at[i])));
}

// ---- sums over a block --------------------------------------------------------------------------------------------

// Sum over the block, the same bits in every thread and in every run: the order is fixed by the threads' numbers.
__device__ inline double block_sum(double x)
{
    __shared__ double partial[WARP];
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    for (u32 offset = WARP / 2; 0 < offset; offset /= 2)
        x += __shfl_down_sync(ALL_LANES, x, offset);
    // Whoever still reads the sum before this one has to be done with it.
    __syncthreads();
    if (lane == 0)
        partial[warp] = x;
    __syncthreads();
    double sum = 0;
    for (u32 w = 0; w < blockDim.x / WARP; w++)
        sum += partial[w];
    return sum;
}

// ---- softmax of a row ---------------------------------------------------------------------------------------------

// Of the logits x seen so far, with u = (x - max) * k and k = log2(e) / temperature: sum of 2^u, and of 2^u * u.
struct Softmax {
    float max, sum, dot;
};

__device__ inline Softmax empty_softmax()
{
    // Not -inf: two maxima that are both -inf have no difference.
    Softmax s = {-FLOAT_MAX, 0.0f, 0.0f};
    return s;
}

// The same sums for a larger maximum (online softmax, arXiv:1805.02867).
__device__ inline void raise(Softmax &s, float max, float k)
{
    // An empty sum may be raised by more than the range of a float, and 0 * inf is not 0.
    float by = fminf((max - s.max) * k, 1e30f);
    float factor = exp2f(-by);
    s.dot = factor * (s.dot - by * s.sum);
    s.sum *= factor;
    s.max = max;
}

template <int N> __device__ inline void add(Softmax &s, const float (&x)[N], float k)
{
    float max = x[0];
#pragma unroll
    for (int i = 1; i < N; i++)
        max = fmaxf(max, x[i]);
    if (s.max < max)
        raise(s, max, k);
#pragma unroll
    for (int i = 0; i < N; i++) {
        float u = (x[i] - s.max) * k;
        float e = exp2f(u);
        s.sum += e;
        // A banned token has e = 0 and u = -inf.
        s.dot += e * fmaxf(u, -1e30f);
    }
}

__device__ inline Softmax merge(Softmax a, Softmax b, float k)
{
    float max = fmaxf(a.max, b.max);
    raise(a, max, k);
    raise(b, max, k);
    a.sum += b.sum;
    a.dot += b.dot;
    return a;
}

// Softmax of the row that the block reads together, once; the same bits in every thread.
template <class T> __device__ inline Softmax row_softmax(const T *row, u64 v, float k)
{
    __shared__ Softmax partial[WARP];
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    Softmax s = empty_softmax();
    visit(row, v, threadIdx.x, blockDim.x, [&](u64, const auto &x) { add(s, x, k); });
    for (u32 offset = WARP / 2; 0 < offset; offset /= 2) {
        Softmax other;
        other.max = __shfl_down_sync(ALL_LANES, s.max, offset);
        other.sum = __shfl_down_sync(ALL_LANES, s.sum, offset);
        other.dot = __shfl_down_sync(ALL_LANES, s.dot, offset);
        s = merge(s, other, k);
    }
    // Whoever still reads the row before this one has to be done with it.
    __syncthreads();
    if (lane == 0)
        partial[warp] = s;
    __syncthreads();
    s = partial[0];
    for (u32 w = 1; w < blockDim.x / WARP; w++)
        s = merge(s, partial[w], k);
    return s;
}

// Log-probability of a token with logit `x` and entropy of the distribution, nats. Both are f32, everywhere: what one
// kernel writes is what another finds again, and the ratio of a policy to itself is exactly 1.
struct Score {
    float logprob, entropy;
};

__device__ inline Score score(const Softmax &s, float x, double inverse_temperature)
{
    double log_sum = log((double)s.sum);
    Score out;
    out.logprob = (float)(((double)x - (double)s.max) * inverse_temperature - log_sum);
    // A distribution on one token has a sum of 1 and a dot of -0; its entropy is 0.
    out.entropy = (float)(log_sum - LN_2 * ((double)s.dot / (double)s.sum));
    return out;
}

// The logit of a token; outside the vocabulary it is NaN, and so is all that follows from it.
template <class T> __device__ inline float logit_of(const T *row, u64 v, u32 target)
{
    return target < v ? to_float(row[target]) : __uint_as_float(0x7fc00000u);
}

// ---- gradient of a row --------------------------------------------------------------------------------------------

// What one thread finds out for the others: the taken token's score, and the slopes of the loss in it.
struct Slopes {
    double d_logprob, d_entropy;
    float logprob, entropy;
};

// Replaces a row of logits by d loss / d logits, `(d_logprob (1[target] - p) - d_entropy p (ln p + H)) / temperature`.
// The block has read the row together and been at a barrier since.
template <class T>
__device__ inline void replace_by_gradient(T *row, u64 v, u32 target, const Softmax &s, const Slopes &d,
                                           double inverse_temperature)
{
    const float k = (float)(inverse_temperature * LOG2_E), max = s.max, entropy = d.entropy;
    const float d_logprob = (float)(-d.d_logprob * inverse_temperature / (double)s.sum);
    if (d.d_entropy == 0.0) {
        replace(row, v, threadIdx.x, blockDim.x, [=](float x) { return d_logprob * exp2f((x - max) * k); });
    } else {
        const float d_entropy = (float)(-d.d_entropy * inverse_temperature / (double)s.sum);
        const float log2_sum = (float)(log((double)s.sum) * LOG2_E);
        replace(row, v, threadIdx.x, blockDim.x, [=](float x) {
            const float u = (x - max) * k;
            // A banned token has p = 0 and ln p = -inf.
            const float surprise = fmaxf((u - log2_sum) * (float)LN_2, -1e30f) + entropy;
            return exp2f(u) * (d_logprob + d_entropy * surprise);
        });
    }
    // Which thread has written the taken token is all the same: it is written last, and rounded once.
    __syncthreads();
    if (threadIdx.x == 0 && target < v) {
        const double lp = (double)d.logprob, p = exp(lp);
        const double surprise = 0.0 < p ? p * (lp + (double)entropy) : 0.0;
        store(row[target], (float)((-d.d_logprob * expm1(lp) - d.d_entropy * surprise) * inverse_temperature));
    }
}
