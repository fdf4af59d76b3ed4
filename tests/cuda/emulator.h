// Runs CUDA C++ on the CPU: the part of the language that netc's modules use. In front of a module's own text this makes a
// library whose `emulate` runs a kernel: each CUDA thread is a fiber that runs until it waits; blocks run in turn. The
// order of threads and blocks is chosen by the caller. Shared memory starts as not-a-number. When a barrier is not reached
// by every thread of its block (of its warp, for a shuffle), or blocks wait that may not, `emulate` says so.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
#include <vector>

#define NETC_EMULATOR
#define __CUDA_ARCH__ 800
#define __global__
#define __device__
#define __noinline__ __attribute__((noinline))
#define __shared__
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

struct Dim {
    unsigned int x, y, z;
};

static Dim blockDim, gridDim;
alignas(16) unsigned char netc_shared[1 << 17];
static size_t shared_bytes;

enum Wait { RUNNING, AT_BLOCK, AT_WARP, SPINNING, ENDED };

struct Fiber {
    void *stack_pointer;
    Wait wait;
    unsigned int thread;
    uint32_t given[6];  // what it brings to a shuffle or a product of its warp
    ucontext_t context;
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<unsigned char> shared;
    unsigned int number;
    size_t ended;
};

static Fiber *fiber;
static Block *block;
static uint32_t brought[1024][6];  // by each thread of the running block to what its warp does together
static void (*entry)(long long, long long, long long, long long);
static long long arguments[4];
static const char *problem;
static int together;  // whether blocks may wait for each other
static unsigned long progress;  // barriers and shuffles passed, threads ended: all that is not waiting for another block

#define threadIdx (Dim{fiber->thread, 0, 0})
#define blockIdx (Dim{block->number, 0, 0})

// Switching between fibers. Where the processor is another, the C library does it, more slowly.

static ucontext_t scheduler_context;
#if defined(__x86_64__)
static void *scheduler_pointer;
extern "C" void netc_switch(void **from, void *to);
asm(".text\n.globl netc_switch\n.type netc_switch,@function\nnetc_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n");
static void to_scheduler() { netc_switch(&fiber->stack_pointer, scheduler_pointer); }
static void to_fiber() { netc_switch(&scheduler_pointer, fiber->stack_pointer); }
#else
static void to_scheduler() { swapcontext(&fiber->context, &scheduler_context); }
static void to_fiber() { swapcontext(&scheduler_context, &fiber->context); }
#endif

static void run_fiber() {
    entry(arguments[0], arguments[1], arguments[2], arguments[3]);
    fiber->wait = ENDED;
    to_scheduler();
    abort();
}

static void prepare(Fiber &f, unsigned char *stack, size_t size) {
#if defined(__x86_64__)
    void **top = (void **)(((uintptr_t)stack + size) & ~(uintptr_t)15);
    *--top = nullptr;
    *--top = (void *)run_fiber;
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    f.stack_pointer = top;
#else
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = stack;
    f.context.uc_stack.ss_size = size;
    f.context.uc_link = nullptr;
    makecontext(&f.context, run_fiber, 0);
#endif
}

static void wait_as(Wait what) {
    fiber->wait = what;
    to_scheduler();
}

// What kernels call

static inline void __syncthreads() { wait_as(AT_BLOCK); }
static inline void __threadfence() {}
static inline void __nanosleep(unsigned int) { wait_as(SPINNING); }

template <class T> static T __shfl_xor_sync(unsigned int, T value, int mask) {
    static_assert(sizeof(T) <= 8, "a shuffle moves eight bytes at most");
    std::memcpy(fiber->given, &value, sizeof(T));
    wait_as(AT_WARP);
    T other;
    std::memcpy(&other, brought[fiber->thread ^ mask], sizeof(T));
    return other;
}

static inline unsigned int atomicAdd(unsigned int *p, unsigned int v) {
    const unsigned int old = *p;
    *p = old + v;
    return old;
}
static inline int atomicAdd(int *p, int v) {
    const int old = *p;
    *p = old + v;
    return old;
}
static inline unsigned int atomicExch(unsigned int *p, unsigned int v) {
    const unsigned int old = *p;
    *p = v;
    return old;
}
static inline int atomicMax(int *p, int v) {
    const int old = *p;
    if (v > old) *p = v;
    return old;
}
static inline unsigned long long atomicMax(unsigned long long *p, unsigned long long v) {
    const unsigned long long old = *p;
    if (v > old) *p = v;
    return old;
}
static inline unsigned int __float_as_uint(float value) {
    unsigned int bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
static inline float __int_as_float(unsigned int bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}
static inline double __longlong_as_double(long long bits) {
    double x;
    std::memcpy(&x, &bits, 8);
    return x;
}
static inline long long __double_as_longlong(double x) {
    long long bits;
    std::memcpy(&bits, &x, 8);
    return bits;
}

// Tensor cores: each lane brings its fragments, and computes the four sums that are its own. Which lane holds which element is
// what the tables of the PTX manual say of mma.m16n8k16 (.bf16).

static float element(uint32_t word, int half) { return __int_as_float(half == 0 ? word << 16 : word & 0xffff0000u); }
static void mma_bf16(float (&c)[4], const unsigned int (&a)[4], const unsigned int (&b)[2]) {
    for (int i = 0; i < 4; ++i) fiber->given[i] = a[i];
    for (int i = 0; i < 2; ++i) fiber->given[4 + i] = b[i];
    wait_as(AT_WARP);
    const unsigned int lane = fiber->thread % 32, first = fiber->thread - lane;
    for (int i = 0; i < 4; ++i) {
        const unsigned int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (unsigned int word = 0; word < 8; ++word) {
            const uint32_t l = brought[first + row % 8 * 4 + word % 4][row / 8 + word / 4 * 2];
            const uint32_t r = brought[first + column * 4 + word % 4][4 + word / 4];
            for (int half = 0; half < 2; ++half) c[i] = fmaf(element(l, half), element(r, half), c[i]);
        }
    }
}

// The scheduler

static unsigned int shuffled(unsigned int i, unsigned int n, int order, unsigned int salt) {
    if (order == 0) return i;
    if (order == 1) return n - 1 - i;
    unsigned int step = (salt * 2654435761u | 1u) % n;  // any order: a stride that is coprime to n
    while (n > 1) {
        unsigned int a = n, b = step ? step : 1;
        while (b) { const unsigned int r = a % b; a = b; b = r; }
        if (a == 1 && step) break;
        step = (step + 1) % n;
    }
    return (unsigned int)(((uint64_t)i * (step ? step : 1) + salt) % n);
}

// Lets the warp that a fiber waits in go on, when all of its threads are there.
static bool warp_is_whole(size_t first) {
    size_t end = first + 32 < block->fibers.size() ? first + 32 : block->fibers.size();
    for (size_t i = first; i < end; ++i)
        if (block->fibers[i].wait != AT_WARP) return false;
    for (size_t i = first; i < end; ++i) {
        std::memcpy(brought[i], block->fibers[i].given, sizeof(brought[i]));
        block->fibers[i].wait = RUNNING;
    }
    ++progress;
    return true;
}

// Runs a block until all of its threads have ended or it waits for another block.
static void run_block(int order, unsigned int salt) {
    std::memcpy(netc_shared, block->shared.data(), shared_bytes);
    const size_t count = block->fibers.size();
    for (;;) {
        bool ran = false;
        for (unsigned int i = 0; i < count; ++i) {
            Fiber &f = block->fibers[shuffled(i, (unsigned int)count, order, salt)];
            if (f.wait != RUNNING) continue;
            fiber = &f;
            to_fiber();
            ran = true;
            if (f.wait == ENDED) ++block->ended, ++progress;
        }
        for (size_t first = 0; first < count; first += 32) ran |= warp_is_whole(first);
        size_t waiting = 0, spinning = 0;
        for (const Fiber &f : block->fibers) waiting += f.wait == AT_BLOCK, spinning += f.wait == SPINNING;
        if (waiting == count) {
            for (Fiber &f : block->fibers) f.wait = RUNNING;
            ran = true;
            ++progress;
        }
        if (ran) continue;
        if (spinning && !together) problem = "a block waits for others that need not be there";
        if (!spinning && block->ended < count) problem = "a barrier is not reached by all threads of its block or warp";
        break;
    }
    std::memcpy(block->shared.data(), netc_shared, shared_bytes);
}

extern "C" const char *emulate(
    void *kernel, unsigned int blocks, unsigned int threads, size_t shared, const long long *given, int order, int wait) {
    static const size_t STACK = 1 << 15;
    static std::vector<unsigned char> stacks;
    if (stacks.size() < (size_t)blocks * threads * STACK) stacks.resize((size_t)blocks * threads * STACK);
    entry = (void (*)(long long, long long, long long, long long))kernel;
    std::memcpy(arguments, given, sizeof(arguments));
    blockDim = {threads, 1, 1};
    gridDim = {blocks, 1, 1};
    shared_bytes = shared;
    problem = nullptr;
    together = wait;
    if (shared > sizeof(netc_shared) || threads > 1024) return "more shared memory or threads than a block has";
    std::vector<Block> all(blocks);
    for (unsigned int b = 0; b < blocks; ++b) {
        all[b].number = b;
        all[b].ended = 0;
        all[b].shared.assign(shared, 0xff);
        all[b].fibers.resize(threads);
        for (unsigned int t = 0; t < threads; ++t) {
            all[b].fibers[t].wait = RUNNING;
            all[b].fibers[t].thread = t;
            prepare(all[b].fibers[t], stacks.data() + ((size_t)b * threads + t) * STACK, STACK);
        }
    }
    for (unsigned int turn = 0; !problem; ++turn) {
        const unsigned long before = progress;
        size_t ended = 0;
        for (unsigned int i = 0; i < blocks && !problem; ++i) {
            block = &all[shuffled(i, blocks, order, turn)];
            for (Fiber &f : block->fibers)
                if (f.wait == SPINNING) f.wait = RUNNING;
            run_block(order, turn + block->number);
            ended += block->ended == threads;
        }
        if (ended == blocks) break;
        if (progress == before && !problem) problem = "blocks wait for each other for ever";
    }
    return problem;
}
