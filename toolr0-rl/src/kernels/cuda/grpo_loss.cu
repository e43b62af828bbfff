// The losses of the GRPO family, forward and backward, in place over the logits. See `loss/terms.rs` for the formulas;
// the arithmetic of one token is the same f64 as there, since one thread of a block has all the time of the others'
// reading for it.
//
// `grpo_sequences` reduces what belongs to whole rows of the batch (here: sequences) from the log-probabilities of the
// forward pass; `grpo_loss` then takes a chunk of logits, reads each row once to find its softmax, and replaces the
// row by d loss / d logits. Losses whose ratio is per token need no forward pass of their own: there the first kernel
// only counts. Bytes moved by the second: rows * v * sizeof(T) read, read again (from the L2 cache, as far as the rows
// in flight fit in it) and written.

// Where each number of the configuration lies; `grpo_loss.rs` fills it.
enum Constant {
    SURROGATE,
    PARAM_0,
    PARAM_1,
    PARAM_2,
    PARAM_3,
    LEVEL,
    BETA,
    KL_ESTIMATOR,
    KL_BY_RATIO,
    CORRECTION,
    CORRECTION_MASKS,
    RHO_MIN,
    RHO_MAX,
    STALE_ABOVE,
    ENTROPY_FROM,
    ENTROPY_SLOPE,
    MEAN_OVER_ROW,
    DIVISOR,
    CONSTANTS
};

enum Surrogate { CLIP = 0, CISPO = 1, SAPO = 2, VESPO = 3 };
enum Level { TOKEN = 0, SEQUENCE = 1, SEQUENCE_TOKEN = 2 };
enum Estimator { K1 = 0, K2 = 1, K3 = 2, K3_PLUS = 3 };
enum Correction { NO_CORRECTION = 0, BY_TOKEN = 1, BY_SEQUENCE = 2 };

#define MAX_LOG_RATIO 20.0
#define MIN_LOG_WEIGHT (-18.420680743952367)

// What a sequence tells each of its tokens.
struct Sequence {
    double scale, log_ratio, log_weight, rho, stale, shared;
};

// One loss token. `reference` and `sampler` are read only where the batch has them.
struct Token {
    double logprob, entropy, old, reference, sampler, advantage;
    bool has_reference, has_sampler;
};

// A loss, and its slopes in the log-ratio (of whatever level) and in the log-probability itself.
struct Term {
    double value, d_log_ratio, d_logprob;
};

struct Ratio {
    double value, slope;
};

__device__ inline double clamp(double x, double low, double high)
{
    return x < low ? low : high < x ? high : x;
}

__device__ inline Ratio ratio_from_log(double log)
{
    Ratio r;
    r.value = exp(clamp(log, -MAX_LOG_RATIO, MAX_LOG_RATIO));
    r.slope = fabs(log) <= MAX_LOG_RATIO ? r.value : 0.0;
    return r;
}

__device__ inline Term clip(double a, Ratio r, double low, double high, double bound)
{
    // A cut passes the slope up to and including its bound, as torch.clamp does.
    const double free = r.value <= bound ? r.value : bound, d_free = r.value <= bound ? r.slope : 0.0;
    const double cut = clamp(r.value, low, high), d_cut = low <= r.value && r.value <= high ? r.slope : 0.0;
    const bool takes_free = free * a <= cut * a;
    Term t = {-(takes_free ? free : cut) * a, -(takes_free ? d_free : d_cut) * a, 0.0};
    return t;
}

// `-weight * a * lp` with the weight detached.
__device__ inline Term detached(double weight, double a, double lp)
{
    Term t = {-weight * a * lp, 0.0, -weight * a};
    return t;
}

__device__ inline Term surrogate(const double *c, double a, double lp, Ratio r, double log_weight)
{
    const int kind = (int)c[SURROGATE];
    if (kind == CLIP)
        return clip(a, r, c[PARAM_0], c[PARAM_1], c[PARAM_2]);
    if (kind == CISPO)
        return detached(clamp(r.value, c[PARAM_0], c[PARAM_1]), a, lp);
    if (kind == SAPO) {
        const double tau = 0.0 < a ? c[PARAM_0] : c[PARAM_1];
        const double gate = 1.0 / (1.0 + exp(-tau * (r.value - 1.0)));
        Term t = {-4.0 / tau * gate * a, -4.0 * gate * (1.0 - gate) * a * r.slope, 0.0};
        return t;
    }
    const double power = 0.0 <= a ? c[PARAM_0] : c[PARAM_2], lambda = 0.0 <= a ? c[PARAM_1] : c[PARAM_3];
    const double log = clamp(log_weight, MIN_LOG_WEIGHT, MAX_LOG_RATIO);
    return detached(exp(lambda + power * log - lambda * exp(log)), a, lp);
}

// Value and slope of the KL estimator at `x = lp - reference`, times the ratio where the configuration says so.
__device__ inline Term divergence(const double *c, double x, Ratio r)
{
    const int estimator = (int)c[KL_ESTIMATOR];
    double value = x, slope = 1.0;
    if (estimator == K2) {
        value = 0.5 * x * x;
        slope = x;
    } else if (estimator != K1) {
        const double bounded = x < -MAX_LOG_RATIO ? -MAX_LOG_RATIO : x, excess = expm1(-bounded);
        value = excess + bounded;
        slope = estimator == K3_PLUS ? x : x < -MAX_LOG_RATIO ? 0.0 : -excess;
    }
    Term plain = {value, 0.0, slope}, weighted = {value * r.value, value * r.slope, slope * r.value};
    return c[KL_BY_RATIO] != 0.0 ? weighted : plain;
}

// Log of the importance weight. A sampler that could not score a token reports NaN: no evidence, weight 1.
__device__ inline double log_rho(const Token &t)
{
    const double gap = t.old - t.sampler;
    return gap == gap ? clamp(gap, -MAX_LOG_RATIO, MAX_LOG_RATIO) : 0.0;
}

__device__ inline double bound_rho(const double *c, double rho)
{
    if (c[CORRECTION_MASKS] != 0.0)
        return rho < c[RHO_MIN] || c[RHO_MAX] < rho ? 0.0 : rho;
    return clamp(rho, c[RHO_MIN], c[RHO_MAX]);
}

__device__ inline double importance_weight(const double *c, const Sequence &s, const Token &t)
{
    const int correction = (int)c[CORRECTION];
    if (correction == NO_CORRECTION || (int)c[SURROGATE] == VESPO)
        return 1.0;
    return correction == BY_SEQUENCE ? s.rho : bound_rho(c, exp(log_rho(t)));
}

// Whether the token stays in the policy loss and the entropy bonus.
__device__ inline bool kept(const double *c, const Token &t)
{
    return c[ENTROPY_FROM] <= t.entropy;
}

// The loss of one token before the entropy bonus, and its slopes, all of it scaled as the loss reduces.
__device__ inline Term token_term(const double *c, const Sequence &s, const Token &t)
{
    const double log = (int)c[LEVEL] == TOKEN ? t.logprob - t.old : s.log_ratio;
    const Ratio r = ratio_from_log(log);
    const bool dropped = !kept(c, t) || (s.stale != 0.0 && t.advantage < 0.0);
    const double factor = dropped ? 0.0 : importance_weight(c, s, t);
    Term out = surrogate(c, t.advantage, t.logprob, r, s.log_weight);
    out.value *= factor;
    out.d_log_ratio *= factor;
    out.d_logprob *= factor;
    if (t.has_reference && c[BETA] != 0.0) {
        const Term kl = divergence(c, t.logprob - t.reference, r);
        out.value += c[BETA] * kl.value;
        out.d_log_ratio += c[BETA] * kl.d_log_ratio;
        out.d_logprob += c[BETA] * kl.d_logprob;
    }
    out.value *= s.scale;
    out.d_log_ratio *= s.scale;
    out.d_logprob *= s.scale;
    return out;
}

// What the batch says of its tokens, each array one value to a token; the first two and the last may be null.
struct Batch {
    const float *reference, *sampler, *old, *advantages;
    const u8 *mask;
    const float *scores;

    __device__ Token at(u64 i, double logprob, double entropy) const
    {
        Token t;
        t.logprob = logprob;
        t.entropy = entropy;
        t.old = (double)old[i];
        t.advantage = (double)advantages[i];
        t.has_reference = reference != nullptr;
        t.has_sampler = sampler != nullptr;
        t.reference = t.has_reference ? (double)reference[i] : 0.0;
        t.sampler = t.has_sampler ? (double)sampler[i] : 0.0;
        return t;
    }

    // As the forward pass scored it; without one, as if nothing had changed since sampling.
    __device__ Token scored(u64 i) const
    {
        return scores ? at(i, (double)scores[2 * i], (double)scores[2 * i + 1]) : at(i, (double)old[i], 0.0);
    }
};

__device__ inline Sequence sequence(const Batch &batch, const double *c, u64 from, u64 to)
{
    double n = 0, logs = 0, cut_logs = 0, rhos = 0, log_weights = 0, drift = 0;
    for (u64 i = from + threadIdx.x; i < to; i += blockDim.x) {
        if (!batch.mask[i])
            continue;
        const Token t = batch.scored(i);
        const double log = t.logprob - t.old, reported = t.has_sampler ? t.sampler : t.old;
        n += 1.0;
        logs += log;
        cut_logs += clamp(log, -MAX_LOG_RATIO, MAX_LOG_RATIO);
        drift += reported == reported ? reported - t.logprob : 0.0;
        if (t.has_sampler && (int)c[CORRECTION] != NO_CORRECTION) {
            const double rho = log_rho(t), weight = bound_rho(c, exp(rho));
            rhos += rho;
            const double log_of = ::log(weight < 1e-8 ? 1e-8 : weight);
            log_weights += log_of < MAX_LOG_RATIO ? log_of : MAX_LOG_RATIO;
        }
    }
    n = block_sum(n);
    const double some = n < 1.0 ? 1.0 : n;
    Sequence s;
    s.scale = c[MEAN_OVER_ROW] != 0.0 ? 1.0 / (some * c[DIVISOR]) : 1.0 / c[DIVISOR];
    s.log_ratio = block_sum(logs) / some;
    s.log_weight = block_sum(cut_logs);
    const double own_weights = block_sum(log_weights);
    if ((int)c[SURROGATE] == VESPO)
        s.log_weight += own_weights;
    s.rho = bound_rho(c, exp(clamp(block_sum(rhos), -MAX_LOG_RATIO, MAX_LOG_RATIO)));
    s.stale = c[STALE_ABOVE] < block_sum(drift) / some ? 1.0 : 0.0;
    s.shared = 0.0;
    if ((int)c[LEVEL] != SEQUENCE)
        return s;
    // The log-ratio of a sequence is a mean, so each of its tokens has slope 1 / n in it.
    double slopes = 0;
    for (u64 i = from + threadIdx.x; i < to; i += blockDim.x)
        slopes += batch.mask[i] ? token_term(c, s, batch.scored(i)).d_log_ratio : 0.0;
    s.shared = block_sum(slopes) / some;
    return s;
}

// offsets: (sequences + 1), where each sequence's tokens begin; out: (sequences). One block takes one at a time.
extern "C" __global__ void __launch_bounds__(MAX_ROW_THREADS, 2)
    grpo_sequences(const float *scores, const float *old, const float *reference, const float *sampler,
                   const float *advantages, const u8 *mask, const u64 *offsets, const double *constants, Sequence *out,
                   u64 sequences)
{
    const Batch batch = {reference, sampler, old, advantages, mask, scores};
    for (u64 i = blockIdx.x; i < sequences; i += gridDim.x) {
        const Sequence s = sequence(batch, constants, offsets[i], offsets[i + 1]);
        if (threadIdx.x == 0)
            out[i] = s;
    }
}

template <class T>
__device__ inline void grpo_loss(T *logits, const u32 *targets, const u32 *sequence_of, const Batch &batch,
                                 const Sequence *sequences, const double *c, float *scores, double *losses, u64 rows,
                                 u64 v, u64 stride, double inverse_temperature)
{
    __shared__ Slopes slopes;
    const float k = (float)(inverse_temperature * LOG2_E);
    for (u64 r = blockIdx.x; r < rows; r += gridDim.x) {
        T *row = logits + r * stride;
        if (!batch.mask[r]) {
            replace(row, v, threadIdx.x, blockDim.x, [](float) { return 0.0f; });
            if (threadIdx.x == 0)
                scores[2 * r] = 0.0f, scores[2 * r + 1] = 0.0f, losses[r] = 0.0;
            continue;
        }
        const Softmax softmax = row_softmax((const T *)row, v, k);
        if (threadIdx.x == 0) {
            const Score own = score(softmax, logit_of((const T *)row, v, targets[r]), inverse_temperature);
            const Token token = batch.at(r, (double)own.logprob, (double)own.entropy);
            const Sequence s = sequences[sequence_of[r]];
            const Term term = token_term(c, s, token);
            slopes.d_logprob = term.d_logprob + ((int)c[LEVEL] == SEQUENCE ? s.shared : term.d_log_ratio);
            slopes.d_entropy = kept(c, token) ? c[ENTROPY_SLOPE] : 0.0;
            slopes.logprob = own.logprob;
            slopes.entropy = own.entropy;
            scores[2 * r] = own.logprob;
            scores[2 * r + 1] = own.entropy;
            losses[r] = term.value + slopes.d_entropy * token.entropy;
        }
        __syncthreads();
        replace_by_gradient(row, v, targets[r], softmax, slopes, inverse_temperature);
    }
}

// targets, sequence_of, old, reference, sampler, advantages, mask, losses: (rows); scores: (rows, 2). Masked rows
// become 0 and are not read. `reference` and `sampler` may be null. losses add up to the loss.
#define GRPO_LOSS(NAME, T)                                                                                              \
    extern "C" __global__ void __launch_bounds__(MAX_ROW_THREADS, 2)                                                           \
        NAME(T *logits, const u32 *targets, const u32 *sequence_of, const float *old, const float *reference,          \
             const float *sampler, const float *advantages, const u8 *mask, const Sequence *sequences,                 \
             const double *constants, float *scores, double *losses, u64 rows, u64 v, u64 stride,                      \
             double inverse_temperature)                                                                                \
    {                                                                                                                   \
        const Batch batch = {reference, sampler, old, advantages, mask, nullptr};                                       \
        grpo_loss(logits, targets, sequence_of, batch, sequences, constants, scores, losses, rows, v, stride,          \
                  inverse_temperature);                                                                                 \
    }

GRPO_LOSS(grpo_loss_f32, float)
GRPO_LOSS(grpo_loss_bf16, bf16)
GRPO_LOSS(grpo_loss_f16, f16)
