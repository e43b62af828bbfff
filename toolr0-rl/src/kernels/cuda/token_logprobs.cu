// Log-probability of each taken token and entropy of its distribution. See `token_logprobs.rs` for the formula.
//
// logits: rows of `v` values, `stride` apart; targets: (rows); scores: (rows, 2), log-probability and entropy, nats.
// One block takes one row at a time and reads it once. Bytes moved: rows * v * sizeof(T).
//
// The backward kernels replace the logits by the gradient of any function of the scores; `upstream`: (rows, 2), its
// slopes in them. Bytes moved: the same read, read again (from the L2 cache, as far as the rows in flight fit in it) and
// written.

template <class T>
__device__ inline void token_logprobs(const T *__restrict__ logits, const u32 *__restrict__ targets,
                                      float *__restrict__ scores, u64 rows, u64 v, u64 stride,
                                      double inverse_temperature)
{
    const float k = (float)(inverse_temperature * LOG2_E);
    for (u64 r = blockIdx.x; r < rows; r += gridDim.x) {
        const T *row = logits + r * stride;
        Softmax s = row_softmax(row, v, k);
        if (threadIdx.x == 0) {
            Score out = score(s, logit_of(row, v, targets[r]), inverse_temperature);
            scores[2 * r] = out.logprob;
            scores[2 * r + 1] = out.entropy;
        }
    }
}

#define TOKEN_LOGPROBS(NAME, T)                                                                                         \
    extern "C" __global__ void __launch_bounds__(MAX_ROW_THREADS)                                                           \
        NAME(const T *logits, const u32 *targets, float *scores, u64 rows, u64 v, u64 stride,                           \
             double inverse_temperature)                                                                                \
    {                                                                                                                   \
        token_logprobs(logits, targets, scores, rows, v, stride, inverse_temperature);                                  \
    }

TOKEN_LOGPROBS(token_logprobs_f32, float)
TOKEN_LOGPROBS(token_logprobs_bf16, bf16)
TOKEN_LOGPROBS(token_logprobs_f16, f16)

template <class T>
__device__ inline void token_logprobs_backward(T *logits, const u32 *targets, const float *scores,
                                               const float *upstream, u64 rows, u64 v, u64 stride,
                                               double inverse_temperature)
{
    const float k = (float)(inverse_temperature * LOG2_E);
    for (u64 r = blockIdx.x; r < rows; r += gridDim.x) {
        T *row = logits + r * stride;
        const Softmax s = row_softmax((const T *)row, v, k);
        const Slopes d = {(double)upstream[2 * r], (double)upstream[2 * r + 1], scores[2 * r], scores[2 * r + 1]};
        replace_by_gradient(row, v, targets[r], s, d, inverse_temperature);
    }
}

#define TOKEN_LOGPROBS_BACKWARD(NAME, T)                                                                                \
    extern "C" __global__ void __launch_bounds__(MAX_ROW_THREADS)                                                           \
        NAME(T *logits, const u32 *targets, const float *scores, const float *upstream, u64 rows, u64 v, u64 stride,   \
             double inverse_temperature)                                                                                \
    {                                                                                                                   \
        token_logprobs_backward(logits, targets, scores, upstream, rows, v, stride, inverse_temperature);              \
    }

TOKEN_LOGPROBS_BACKWARD(token_logprobs_backward_f32, float)
TOKEN_LOGPROBS_BACKWARD(token_logprobs_backward_bf16, bf16)
TOKEN_LOGPROBS_BACKWARD(token_logprobs_backward_f16, f16)
