// CUDA on a processor: enough of it to run the project's kernels as they are, and to be stricter than a device is.
//
// Every CUDA thread is a fiber; a block's fibers take turns, in an order of the caller's choice, and leave off only at
// barriers and shuffles. What a device would forgive or answer with garbage ends the program with a message: a barrier
// that not every thread reaches, a shuffle that not every lane of the warp takes part in, a word of 16 bytes that is
// not aligned (the compiler's checks see to that), and a byte beyond a buffer, which lies against a page that no one
// may touch.

#include <csetjmp>
#include <csignal>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define __device__
#define __global__
#define __launch_bounds__(...)
// Blocks run one after the other, so one copy is enough.
#define __shared__ static
#define __restrict__ __restrict

struct Dim {
    unsigned x, y, z;
};

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

struct alignas(16) float4 {
    float x, y, z, w;
};

static inline float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}

static Dim threadIdx, blockIdx, blockDim, gridDim;

[[noreturn]] static void fault(const char *what)
{
    fprintf(stderr, "fault in block %u, thread %u: %s\n", blockIdx.x, threadIdx.x, what);
    exit(3);
}

// ---- fibers -------------------------------------------------------------------------------------------------------

namespace host {

const size_t STACK = 64 << 10;

enum State { RUNS, AT_BARRIER, IN_SHUFFLE, DONE };

// A fiber begins by a context and goes on by jumps, which cost no system call.
struct Fiber {
    ucontext_t context;
    jmp_buf place;
    bool begun;
    State state;
};

static std::vector<Fiber> fibers;
static char *stacks;
static std::vector<uint64_t> slots; // one to a lane: what it shows to the others
static jmp_buf scheduler;
static void (*body)(void *);
static void *body_arg;
static unsigned current;

[[noreturn]] static void enter()
{
    body(body_arg);
    fibers[current].state = DONE;
    _longjmp(scheduler, 1);
}

static void leave(State why)
{
    Fiber &self = fibers[current];
    self.state = why;
    if (_setjmp(self.place) == 0)
        _longjmp(scheduler, 1);
}

// Lets a fiber run until it leaves off.
static void resume(unsigned i)
{
    current = i;
    threadIdx.x = i;
    if (_setjmp(scheduler) != 0)
        return;
    if (fibers[i].begun)
        _longjmp(fibers[i].place, 1);
    fibers[i].begun = true;
    setcontext(&fibers[i].context);
}

// Wakes those among [from, to) that all wait for the same thing. Returns whether there were any.
static bool wake(unsigned from, unsigned to, State why)
{
    unsigned waiting = 0, done = 0;
    for (unsigned i = from; i < to; i++) {
        waiting += fibers[i].state == why;
        done += fibers[i].state == DONE;
    }
    if (waiting && done)
        fault("a thread has ended without the barrier or shuffle that others wait in");
    if (waiting == 0 || waiting < to - from)
        return false;
    for (unsigned i = from; i < to; i++)
        fibers[i].state = RUNS;
    return true;
}

// Runs one block. The order in which threads take turns is a rotation, forwards or backwards.
static void run_block(bool backwards)
{
    const unsigned n = blockDim.x;
    for (unsigned i = 0; i < n; i++) {
        Fiber &f = fibers[i];
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = &stacks[i * STACK];
        f.context.uc_stack.ss_size = STACK;
        f.context.uc_link = nullptr;
        makecontext(&f.context, (void (*)())enter, 0);
        f.begun = false;
        f.state = RUNS;
    }
    for (;;) {
        bool ran = false, all_done = true;
        for (unsigned k = 0; k < n; k++) {
            const unsigned i = backwards ? n - 1 - k : k;
            if (fibers[i].state == RUNS) {
                ran = true;
                resume(i);
            }
            all_done &= fibers[i].state == DONE;
        }
        if (all_done)
            return;
        bool woke = wake(0, n, AT_BARRIER);
        for (unsigned w = 0; w < n; w += 32)
            woke |= wake(w, w + 32 < n ? w + 32 : n, IN_SHUFFLE);
        if (!ran && !woke)
            fault("threads wait for each other at different places");
    }
}

template <class T> T exchange(unsigned mask, T value, unsigned from)
{
    static_assert(sizeof(T) <= 8, "a lane shows 8 bytes");
    if (mask != 0xffffffffu)
        fault("a shuffle of a part of the warp");
    const unsigned self = current, warp = self / 32 * 32;
    memcpy(&slots[self], &value, sizeof(T));
    leave(IN_SHUFFLE);
    T out;
    memcpy(&out, &slots[warp + from], sizeof(T));
    // Nobody shows something new before all have seen this.
    leave(IN_SHUFFLE);
    return out;
}

} // namespace host

static inline void __syncthreads()
{
    host::leave(host::AT_BARRIER);
}

template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by)
{
    const unsigned lane = host::current % 32;
    return host::exchange(mask, value, lane + by < 32 ? lane + by : lane);
}

template <class T> T __shfl_xor_sync(unsigned mask, T value, unsigned with)
{
    return host::exchange(mask, value, (host::current % 32) ^ with);
}

// ---- numbers ------------------------------------------------------------------------------------------------------

static inline float __uint_as_float(unsigned bits)
{
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static inline unsigned __float_as_uint(float x)
{
    unsigned bits;
    memcpy(&bits, &x, 4);
    return bits;
}

static inline float half_to_float(unsigned short bits)
{
    const unsigned sign = (unsigned)(bits & 0x8000) << 16, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    if (exponent == 31)
        return __uint_as_float(sign | 0x7f800000u | fraction << 13);
    const float size = exponent ? ldexpf((float)(1024 + fraction), (int)exponent - 25) : ldexpf((float)fraction, -24);
    return sign ? -size : size;
}

static inline unsigned short float_to_half(float x)
{
    const unsigned short sign = (unsigned short)(__float_as_uint(x) >> 16 & 0x8000);
    const float size = fabsf(x);
    if (size != size)
        return sign | 0x7e00;
    if (65520.0f <= size)
        return sign | 0x7c00;
    int exponent = size == 0 ? -14 : ilogbf(size);
    exponent = exponent < -14 ? -14 : exponent;
    // Steps of the last place, rounded to even; a carry into the exponent is right as it is.
    const unsigned steps = (unsigned)nearbyintf(ldexpf(size, 10 - exponent));
    return sign | (unsigned short)(steps < 1024 ? steps : ((unsigned)(exponent + 14) << 10) + steps);
}

// ---- buffers ------------------------------------------------------------------------------------------------------

namespace host {

struct Buffer {
    char *data;
    uint64_t len;
    char *map;
    size_t mapped;
};

// Memory that ends (or begins) at a page that may not be touched; the rest of its own pages holds a pattern.
static Buffer place(uint64_t len, bool at_end)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), own = (len + page - 1) / page * page + (len == 0) * page;
    char *map = (char *)mmap(nullptr, own + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == (char *)MAP_FAILED || mprotect(map + page, own, PROT_READ | PROT_WRITE) != 0)
        fault("no memory");
    memset(map + page, 0xa5, own);
    return {map + page + (at_end ? own - len : 0), len, map + page, own};
}

static void check(const Buffer &b)
{
    for (char *p = b.map; p < b.map + b.mapped; p++)
        if ((p < b.data || b.data + b.len <= p) && (unsigned char)*p != 0xa5)
            fault("a write beside a buffer");
}

// ---- requests: a kernel, its shape, its buffers, its arguments ----------------------------------------------------

struct Arg {
    uint32_t kind; // 0: buffer of this number, 1: null, 2: the bytes of a number
    uint64_t bits;
};

struct Request {
    std::vector<Buffer> buffers;
    std::vector<Arg> args;
};

template <class A> struct Take {
    static A from(const Request &, const Arg &arg)
    {
        if (arg.kind != 2)
            fault("a number was expected, a buffer was given");
        A value;
        memcpy(&value, &arg.bits, sizeof(A));
        return value;
    }
};

template <class A> struct Take<A *> {
    static A *from(const Request &request, const Arg &arg)
    {
        if (arg.kind == 2)
            fault("a buffer was expected, a number was given");
        return arg.kind == 1 ? nullptr : (A *)request.buffers.at(arg.bits).data;
    }
};

struct Kernel {
    void (*call)(void *kernel, const Request &request);
    void *kernel;
};

template <size_t... I, class... A>
static void call_with(void (*kernel)(A...), const Request &request, std::index_sequence<I...>)
{
    if (request.args.size() != sizeof...(A))
        fault("the number of arguments is not the kernel's");
    kernel(Take<A>::from(request, request.args[I])...);
}

template <class... A> Kernel kernel(void (*body)(A...))
{
    auto call = [](void *kernel, const Request &request) {
        call_with((void (*)(A...))kernel, request, std::index_sequence_for<A...>());
    };
    return {call, (void *)body};
}

template <class T> static T read()
{
    T value;
    if (fread(&value, sizeof(T), 1, stdin) != 1)
        fault("the request ends early");
    return value;
}

static void on_signal(int signal)
{
    const char *what = signal == SIGILL ? "a check of the compiler failed (a misaligned word?)" : "a touch outside a buffer";
    fprintf(stderr, "fault in block %u, thread %u: %s\n", blockIdx.x, threadIdx.x, what);
    _exit(3);
}

static int serve(const std::map<std::string, Kernel> &kernels)
{
    for (int s : {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE})
        signal(s, on_signal);
    std::string name(read<uint32_t>(), 0);
    for (char &c : name)
        c = read<char>();
    gridDim = {read<uint32_t>(), 1, 1};
    blockDim = {read<uint32_t>(), 1, 1};
    const bool backwards = read<uint32_t>() != 0, at_end = read<uint32_t>() != 0;
    Request request;
    request.buffers.resize(read<uint32_t>());
    for (Buffer &b : request.buffers) {
        b = place(read<uint64_t>(), at_end);
        if (b.len && fread(b.data, b.len, 1, stdin) != 1)
            fault("the request ends early");
    }
    request.args.resize(read<uint32_t>());
    for (Arg &arg : request.args)
        arg = {read<uint32_t>(), read<uint64_t>()};
    if (kernels.find(name) == kernels.end())
        fault("no such kernel");

    static Kernel chosen;
    chosen = kernels.at(name);
    fibers.resize(blockDim.x);
    // Pages of a stack exist once they are touched.
    stacks = (char *)mmap(nullptr, blockDim.x * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stacks == (char *)MAP_FAILED)
        fault("no memory");
    slots.resize(blockDim.x);
    body = [](void *request) { chosen.call(chosen.kernel, *(const Request *)request); };
    body_arg = &request;
    for (unsigned k = 0; k < gridDim.x; k++) {
        blockIdx.x = backwards ? gridDim.x - 1 - k : k;
        run_block(backwards);
    }
    for (const Buffer &b : request.buffers) {
        check(b);
        fwrite(b.data, 1, b.len, stdout);
    }
    return fflush(stdout) == 0 ? 0 : 3;
}

} // namespace host
