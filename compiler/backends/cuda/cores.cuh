// Fused multiplication, and the instruction of tensor cores, which C++ has no word for. The emulator of the tests, which stands for
// a device of compute capability 8.0, has a function of that name.

static __device__ float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
static __device__ double multiply_add(double a, double b, double c) { return fma(a, b, c); }

#if __CUDA_ARCH__ >= 800
#define NETC_CORES
#endif

#if defined(NETC_CORES) && !defined(NETC_EMULATOR)
// 16 x 8 sums += 16 x 16 by 16 x 8 bfloat16 numbers, two to a word, the first in its low half.
static __device__ void mma_bf16(float (&c)[4], const word32 (&a)[4], const word32 (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif
