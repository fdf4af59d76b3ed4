// What every generated module begins with: index type, teams of threads and their reductions, the grid barrier, the
// Philox generator, and scalar functions whose meaning must not depend on the compiler. In front of it stands a
// typedef of index_t. All results are the same whatever the number of blocks; sums of a team depend on its size alone.

extern __shared__ __align__(16) unsigned char netc_shared[];

typedef unsigned long long word64;
typedef unsigned int word32;

#define NETC_INFINITY_F __int_as_float(0x7f800000)
#define NETC_NAN_F __int_as_float(0x7fc00000)
#define NETC_INFINITY_D __longlong_as_double(0x7ff0000000000000LL)
#define NETC_NAN_D __longlong_as_double(0x7ff8000000000000LL)

// Blocks that work together: all of the grid; or, with NETC_ALONE, each block for itself, on a task of its own.

#ifdef NETC_ALONE
static __device__ unsigned int block_number() { return 0; }
static __device__ unsigned int block_count() { return 1; }
#else
static __device__ unsigned int block_number() { return blockIdx.x; }
static __device__ unsigned int block_count() { return gridDim.x; }
#endif

// Barriers

__device__ unsigned int netc_arrived;
__device__ unsigned int netc_generation;

// All threads of all blocks wait for each other, and see what the others have written before. Blocks must all be
// resident: the launch is a cooperative one, or has a single block.
static __device__ void grid_sync() {
    __syncthreads();
    if (block_count() == 1) return;
    if (threadIdx.x == 0) {
        volatile unsigned int *generation = &netc_generation;
        const unsigned int before = *generation;
        __threadfence();
        if (atomicAdd(&netc_arrived, 1u) == block_count() - 1) {
            atomicExch(&netc_arrived, 0u);
            __threadfence();
            atomicExch(&netc_generation, before + 1u);
        } else {
            while (*generation == before) __nanosleep(32);
        }
        __threadfence();
    }
    __syncthreads();
}

// Reductions of a team: every thread gives a value, every thread gets the result, whose order of combination is fixed.

struct Add {
    template <class T> static __device__ T of(T a, T b) { return a + b; }
};

struct Largest {
    template <class T> static __device__ T of(T a, T b) { return (a > b || a != a) ? a : b; }
};

// The place of the first largest element so far; place -1 stands for no element.
template <class T> struct Best {
    T value;
    long long place;
};

template <class T> static __device__ bool better(T a, long long at, T b, long long bt) {
    if (at < 0 || bt < 0) return bt < 0;
    if (a != a || b != b) return a != a && (b == b || at < bt);
    return a > b || (a == b && at < bt);
}

struct First {
    template <class T> static __device__ Best<T> of(Best<T> a, Best<T> b) {
        return better(a.value, a.place, b.value, b.place) ? a : b;
    }
};

template <class T> static __device__ T from_lane(T value, int mask) {
    return __shfl_xor_sync(0xffffffffu, value, mask);
}

template <class T> static __device__ Best<T> from_lane(Best<T> best, int mask) {
    Best<T> other;
    other.value = __shfl_xor_sync(0xffffffffu, best.value, mask);
    other.place = __shfl_xor_sync(0xffffffffu, best.place, mask);
    return other;
}

// Combined in an order that does not depend on which lane asks: the lower lane's part always comes first.
template <class Op, class T> static __device__ T over_warp(T value) {
    const int lane = threadIdx.x & 31;
    for (int mask = 1; mask < 32; mask *= 2) {
        const T other = from_lane(value, mask);
        value = (lane & mask) ? Op::of(other, value) : Op::of(value, other);
    }
    return value;
}

template <class Op, class T> static __device__ T over_block(T value) {
    T *parts = (T *)netc_shared;
    value = over_warp<Op>(value);
    __syncthreads();  // the reduction before this one may still be read
    if ((threadIdx.x & 31) == 0) parts[threadIdx.x >> 5] = value;
    __syncthreads();
    value = parts[0];
    for (unsigned int i = 1; i < blockDim.x / 32; ++i) value = Op::of(value, parts[i]);
    return value;
}

// Random numbers: Philox4x32-10; the same draws as runtime/philox.py.

struct Words {
    word32 a, b, c, d;
};

static __device__ Words philox(word64 index, word32 stream, word32 step, word64 seed) {
    word32 c0 = (word32)index, c1 = (word32)(index >> 32), c2 = stream, c3 = step;
    word32 k0 = (word32)seed, k1 = (word32)(seed >> 32);
    for (int i = 0; i < 10; ++i) {
        const word64 p0 = (word64)c0 * 0xD2511F53u, p1 = (word64)c2 * 0xCD9E8D57u;
        const word32 n0 = (word32)(p1 >> 32) ^ c1 ^ k0, n2 = (word32)(p0 >> 32) ^ c3 ^ k1;
        c1 = (word32)p1;
        c3 = (word32)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    const Words found = {c0, c1, c2, c3};
    return found;
}

static __device__ float uniform_f(word64 index, word32 stream, word32 step, word64 seed) {
    return (float)(philox(index, stream, step, seed).a >> 8) * 0x1p-24f;
}

static __device__ double uniform_d(word64 index, word32 stream, word32 step, word64 seed) {
    const Words w = philox(index, stream, step, seed);
    return (double)(((word64)(w.a >> 5) << 26) | (word64)(w.b >> 6)) * 0x1p-53;
}

// Indices

static __device__ index_t floor_div(index_t a, index_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }
static __device__ index_t floor_mod(index_t a, index_t b) { return a - floor_div(a, b) * b; }

// Scalar operations

template <class T> static __device__ T maximum(T a, T b) { return (a > b || a != a) ? a : b; }
template <class T> static __device__ T minimum(T a, T b) { return (a < b || a != a) ? a : b; }

// bfloat16: a float whose lower half is zero, in memory its upper half. To nearest, ties to even; not-a-number stays so,
// subnormal numbers become zero.
static __device__ float bfloat16(float x) {
    const word32 bits = __float_as_uint(x);
    word32 up = bits + ((bits >> 16) & 1u) + 0x7fffu;
    if ((bits & 0x7f800000u) == 0u) up = bits & 0x80000000u;
    if (x != x) up = bits | 0x00400000u;
    return __int_as_float((int)(up & 0xffff0000u));
}
static __device__ float from_half(unsigned short bits) { return __int_as_float((int)((word32)bits << 16)); }
static __device__ unsigned short to_half(float x) { return (unsigned short)(__float_as_uint(x) >> 16); }

static __device__ float sign(float x) { return (x > 0.0f || x < 0.0f) ? copysignf(1.0f, x) : x; }
static __device__ double sign(double x) { return (x > 0.0 || x < 0.0) ? copysign(1.0, x) : x; }

static __device__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
static __device__ double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

static __device__ float modulo(float a, float b) {
    const float rest = fmodf(a, b);
    return (rest != 0.0f && (rest < 0.0f) != (b < 0.0f)) ? rest + b : rest;
}
static __device__ double modulo(double a, double b) {
    const double rest = fmod(a, b);
    return (rest != 0.0 && (rest < 0.0) != (b < 0.0)) ? rest + b : rest;
}
static __device__ long long modulo(long long a, long long b) {
    const long long rest = a % b;
    return (rest != 0 && (rest < 0) != (b < 0)) ? rest + b : rest;
}

// Towards zero; what does not fit becomes the nearest that does, not-a-number 0.
static __device__ long long to_integer(double x) {
    if (x != x) return 0;
    if (x >= 9223372036854775808.0) return 9223372036854775807LL;
    if (x <= -9223372036854775808.0) return -9223372036854775807LL - 1;
    return (long long)x;
}
