// How much better each rollout did than its group, for all groups in one launch. See `advantage.rs` for the formulas.
//
// rewards, advantages: (groups * n), those of a group adjacent; a NaN reward takes no part and gets 0.
// As many lanes as a group needs, up to a warp, take one group at a time; sums are f64. Rewards are centred on the
// group's first before anything is summed, so equal rewards give exactly 0. Bytes moved: 8 for each rollout.

#define SCALE_EPS 1e-4

enum Scale { BY_GROUP = 0, BY_BATCH = 1, BY_NOTHING = 2, LEAVE_ONE_OUT = 3 };

__device__ inline bool scored(float x)
{
    return x == x;
}

// Lanes that share a group: `width` of them, a power of two, adjacent.
struct Lanes {
    u32 width, own;

    __device__ double sum(double x) const
    {
        for (u32 offset = width / 2; 0 < offset; offset /= 2)
            x += __shfl_xor_sync(ALL_LANES, x, offset);
        return x;
    }

    __device__ u32 least(u32 x) const
    {
        for (u32 offset = width / 2; 0 < offset; offset /= 2) {
            u32 other = __shfl_xor_sync(ALL_LANES, x, offset);
            x = other < x ? other : x;
        }
        return x;
    }
};

// Calls `f(index, slot, reward)` on a group's rewards; PER of them are loaded at once, one to a slot.
template <int PER, class F> __device__ inline void each(const float *group, u32 n, const Lanes &lanes, F f)
{
    for (u32 i = lanes.own * PER; i < n; i += lanes.width * PER) {
        if (PER == 4) {
            float4 x = *(const float4 *)(group + i);
            f(i, 0, x.x), f(i + 1, 1, x.y), f(i + 2, 2, x.z), f(i + 3, 3, x.w);
        } else {
            f(i, 0, group[i]);
        }
    }
}

struct Baseline {
    double first, mean, count, squares;
};

// `active` is false in the lanes past the last group: they go along, because a shuffle needs every lane.
template <int PER>
__device__ inline Baseline baseline(const float *group, u32 n, const Lanes &lanes, bool active)
{
    Baseline b;
    const u32 size = active ? n : 0;
    u32 first = n;
    each<PER>(group, size, lanes, [&](u32 i, int, float x) { first = scored(x) && i < first ? i : first; });
    first = lanes.least(first);
    b.first = first < size ? (double)group[first] : 0.0;
    double sum = 0, count = 0, squares = 0;
    each<PER>(group, size, lanes, [&](u32, int, float x) {
        sum += scored(x) ? (double)x - b.first : 0.0;
        count += scored(x) ? 1.0 : 0.0;
    });
    b.count = lanes.sum(count);
    b.mean = lanes.sum(sum) / (0.0 < b.count ? b.count : 1.0);
    each<PER>(group, size, lanes, [&](u32, int, float x) {
        double c = (double)x - b.first - b.mean;
        squares += scored(x) ? c * c : 0.0;
    });
    b.squares = lanes.sum(squares);
    return b;
}

__device__ inline double deviation(double squares, double count)
{
    return 1.0 < count ? sqrt(squares / (count - 1.0)) : 0.0;
}

// Deviation of all rewards, found by every block for itself: in the same order, hence in the same bits.
__device__ inline double batch_deviation(const float *rewards, u64 total)
{
    double sum = 0, count = 0, squares = 0;
    // Any number near the rewards will do as the centre; the first may be NaN.
    double centre = 0 < total && scored(rewards[0]) ? (double)rewards[0] : 0.0;
    visit(rewards, total, threadIdx.x, blockDim.x, [&](u64, const auto &xs) {
        for (float x : xs) {
            sum += scored(x) ? (double)x - centre : 0.0;
            count += scored(x) ? 1.0 : 0.0;
        }
    });
    count = block_sum(count);
    double mean = block_sum(sum) / (0.0 < count ? count : 1.0);
    visit(rewards, total, threadIdx.x, blockDim.x, [&](u64, const auto &xs) {
        for (float x : xs) {
            double c = (double)x - centre - mean;
            squares += scored(x) ? c * c : 0.0;
        }
    });
    return deviation(block_sum(squares), count);
}

template <int PER>
__device__ inline void advantages(const float *__restrict__ rewards, float *__restrict__ out, u64 groups, u32 n,
                                  u32 scale, const Lanes &lanes)
{
    const double batch = scale == BY_BATCH ? batch_deviation(rewards, groups * n) : 0.0;
    const u64 per_block = blockDim.x / lanes.width;
    // Every lane of a warp makes the same number of rounds.
    for (u64 from = blockIdx.x * per_block; from < groups; from += gridDim.x * per_block) {
        const u64 g = from + threadIdx.x / lanes.width;
        const bool active = g < groups;
        const float *group = rewards + (active ? g : 0) * n;
        const Baseline b = baseline<PER>(group, n, lanes, active);
        double factor = 1.0;
        if (scale == BY_GROUP)
            factor = 1.0 / (deviation(b.squares, b.count) + SCALE_EPS);
        else if (scale == BY_BATCH)
            factor = 1.0 / (batch + SCALE_EPS);
        else if (scale == LEAVE_ONE_OUT)
            factor = 1.0 < b.count ? b.count / (b.count - 1.0) : 0.0;
        float *to = out + (active ? g : 0) * n;
        float done[PER];
        each<PER>(group, active ? n : 0, lanes, [&](u32 i, int slot, float x) {
            done[slot] = scored(x) ? (float)(((double)x - b.first - b.mean) * factor) : 0.0f;
            if (PER == 1)
                to[i] = done[0];
            else if (slot == PER - 1)
                *(float4 *)(to + i + 1 - PER) = make_float4(done[0], done[1 % PER], done[2 % PER], done[3 % PER]);
        });
    }
}

// `width`: lanes to a group, a power of two up to 32.
extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1)
    group_advantages(const float *rewards, float *out, u64 groups, u32 n, u32 width, u32 scale)
{
    Lanes lanes;
    lanes.width = width;
    lanes.own = threadIdx.x % width;
    const bool aligned = (((u64)rewards | (u64)out) & 15) == 0 && n % 4 == 0;
    if (aligned)
        advantages<4>(rewards, out, groups, n, scale, lanes);
    else
        advantages<1>(rewards, out, groups, n, scale, lanes);
}
