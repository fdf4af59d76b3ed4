// Tiles of contractions: a block computes BLOCK_M x BLOCK_N points, stage by stage of DEPTH terms that lie in shared memory. A
// thread holds sums[M][N]; row(i) and column(j) tell which points these are. All layouts are those of tiles.py.

// N elements that lie side by side, moved as one.
template <class T, int N> struct __align__(sizeof(T) * N) Vector {
    T of[N];
};

// Exact products: lanes lie 4 x 8, and a thread's points are runs of V neighbours, a block apart.
template <class T, int WARPS_M, int WARPS_N, int SLICES, int M, int N, int DEPTH> struct Exact {
    static const int THREADS = 32 * WARPS_M * WARPS_N * SLICES;
    static const int BLOCK_M = WARPS_M * 4 * M, BLOCK_N = WARPS_N * 8 * N;
    static const int PITCH_M = BLOCK_M + 4, PITCH_N = BLOCK_N + 4;
    static const int MOST = 16 / sizeof(T);
    static const int VM = M < MOST ? M : MOST, VN = N < MOST ? N : MOST;
    typedef T Element;
    typedef T Sum;
    int x, y, slice;

    __device__ explicit Exact(int thread) {
        const int warp = thread / 32, lane = thread % 32;
        slice = warp / (WARPS_M * WARPS_N);
        y = warp % (WARPS_M * WARPS_N) / WARPS_N * 4 + lane / 8;
        x = warp % WARPS_N * 8 + lane % 8;
    }
    __device__ int row(int i) const { return (i / VM * WARPS_M * 4 + y) * VM + i % VM; }
    __device__ int column(int j) const { return (j / VN * WARPS_N * 8 + x) * VN + j % VN; }
    static __device__ int at(int k, int point, int pitch) { return k * pitch + point; }
    static __device__ Element element(T value) { return value; }

    __device__ void multiply(T (&sums)[M][N], const T *left, const T *right) const {
#pragma unroll
        for (int k = slice; k < DEPTH; k += SLICES) {
            T a[M], b[N];
#pragma unroll
            for (int i = 0; i < M; i += VM)
                *(Vector<T, VM> *)(a + i) = *(const Vector<T, VM> *)(left + k * PITCH_M + row(i));
#pragma unroll
            for (int j = 0; j < N; j += VN)
                *(Vector<T, VN> *)(b + j) = *(const Vector<T, VN> *)(right + k * PITCH_N + column(j));
#pragma unroll
            for (int i = 0; i < M; ++i)
#pragma unroll
                for (int j = 0; j < N; ++j) sums[i][j] = multiply_add(a[i], b[j], sums[i][j]);
        }
    }
};

// Products of bfloat16 numbers on tensor cores: a warp computes fragments of 16 x 8 points. Two terms that follow each other lie
// in a word, the first in its low half. Devices without such instructions multiply what a thread needs one by one.
template <int WARPS_M, int WARPS_N, int SLICES, int M, int N, int DEPTH> struct OnCores {
    static const int THREADS = 32 * WARPS_M * WARPS_N * SLICES;
    static const int BLOCK_M = WARPS_M * 8 * M, BLOCK_N = WARPS_N * 4 * N;
    static const int PITCH_M = BLOCK_M + 8, PITCH_N = BLOCK_N + 8;
    typedef unsigned short Element;
    typedef float Sum;
    int group, place, y, x, slice;

    __device__ explicit OnCores(int thread) {
        const int warp = thread / 32, lane = thread % 32;
        slice = warp / (WARPS_M * WARPS_N);
        y = warp % (WARPS_M * WARPS_N) / WARPS_N * 8 * M;
        x = warp % WARPS_N * 4 * N;
        group = lane / 4;
        place = lane % 4;
    }
    __device__ int row(int i) const { return y + i / 2 * 16 + i % 2 * 8 + group; }
    __device__ int column(int j) const { return x + j / 2 * 8 + place * 2 + j % 2; }
    static __device__ int at(int k, int point, int pitch) { return (k / 2 * pitch + point) * 2 + k % 2; }
    static __device__ Element element(float value) { return to_half(value); }

    __device__ void multiply(float (&sums)[M][N], const Element *left, const Element *right) const {
#pragma unroll
        for (int k = slice * 8; k < DEPTH / 2; k += SLICES * 8) {
#ifdef NETC_CORES
            on_cores(sums, (const word32 *)left + k * PITCH_M, (const word32 *)right + k * PITCH_N);
#else
            one_by_one(sums, left + k * 2 * PITCH_M, right + k * 2 * PITCH_N);
#endif
        }
    }

#ifdef NETC_CORES
    __device__ void on_cores(float (&sums)[M][N], const word32 *left, const word32 *right) const {
        word32 a[M / 2][4], b[N / 2][2];
#pragma unroll
        for (int i = 0; i < M / 2; ++i)
#pragma unroll
            for (int part = 0; part < 4; ++part)
                a[i][part] = left[(place + part / 2 * 4) * PITCH_M + y + group + i * 16 + part % 2 * 8];
#pragma unroll
        for (int j = 0; j < N / 2; ++j)
#pragma unroll
            for (int part = 0; part < 2; ++part) b[j][part] = right[(place + part * 4) * PITCH_N + x + group + j * 8];
#pragma unroll
        for (int i = 0; i < M / 2; ++i)
#pragma unroll
            for (int j = 0; j < N / 2; ++j) {
                float c[4] = {sums[2 * i][2 * j], sums[2 * i][2 * j + 1], sums[2 * i + 1][2 * j],
                              sums[2 * i + 1][2 * j + 1]};
                mma_bf16(c, a[i], b[j]);
                sums[2 * i][2 * j] = c[0];
                sums[2 * i][2 * j + 1] = c[1];
                sums[2 * i + 1][2 * j] = c[2];
                sums[2 * i + 1][2 * j + 1] = c[3];
            }
    }
#else
    __device__ void one_by_one(float (&sums)[M][N], const Element *left, const Element *right) const {
#pragma unroll 1
        for (int k = 0; k < 16; ++k)
#pragma unroll
            for (int i = 0; i < M; ++i)
#pragma unroll
                for (int j = 0; j < N; ++j)
                    sums[i][j] = multiply_add(from_half(left[at(k, row(i), PITCH_M)]),
                                              from_half(right[at(k, column(j), PITCH_N)]), sums[i][j]);
    }
#endif
};

// One of a thread's sums, where it is not known in advance which; the others are passed by, so that all stay in registers.

template <class T, int M, int N> static __device__ void take_row(T (&row)[N], const T (&sums)[M][N], int at) {
#pragma unroll
    for (int i = 0; i < M; ++i)
#pragma unroll
        for (int j = 0; j < N; ++j) row[j] = i == 0 || i == at ? sums[i][j] : row[j];
}

template <class T, int N> static __device__ T take(const T (&row)[N], int at) {
    T found = row[0];
#pragma unroll
    for (int j = 1; j < N; ++j) found = j == at ? row[j] : found;
    return found;
}

// Slices: each puts its sums where all threads then find them, and adds them up in order.

template <class Tile, class T, int M, int N>
static __device__ void put_slice(T *area, const Tile &tile, const T (&sums)[M][N]) {
    T *mine = area + tile.slice * Tile::BLOCK_M * Tile::BLOCK_N;
#pragma unroll
    for (int i = 0; i < M; ++i)
#pragma unroll
        for (int j = 0; j < N; ++j) mine[tile.row(i) * Tile::BLOCK_N + tile.column(j)] = sums[i][j];
}

template <class Tile, int SLICES, class T> static __device__ T of_slices(const T *area, int point) {
    T total = area[point];
#pragma unroll
    for (int s = 1; s < SLICES; ++s) total += area[s * Tile::BLOCK_M * Tile::BLOCK_N + point];
    return total;
}
