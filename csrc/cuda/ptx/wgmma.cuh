// wgmma (sm_90a): asynchronous 64 x kN x 16 products of a warpgroup (4 warps), operands in shared memory or A in
// registers, both K-major, float32 accumulators. Accumulator layout: PTX ISA, "Register fragments for wgmma.m64nNk16".
#pragma once

#include "cuda/compat.cuh"

namespace hgfast::cuda::ptx {

// Orders register and shared-memory accesses before the wgmma that follow; needed before the first of a sequence and
// whenever registers were written since.
HG_DEV void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
HG_DEV void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most kPending groups are in flight. Takes the accumulators so that the compiler keeps them in place
// until the wait.
template <int kPending, int kRegisters>
HG_DEV void wgmma_wait(float (&d)[kRegisters]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#pragma unroll
  for (int i = 0; i < kRegisters; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// d = a * b + (accumulate ? d : 0). a: 64x16, b: kN x 16 (both K-major descriptors); T: __half or __nv_bfloat16.
// kN: 64, 96, 128, 192 or 256. The overload with registers takes A as the fragment of mma_m16n8k16, one per warp.
template <class T, int kN>
HG_DEV void wgmma(float (&d)[kN / 2], uint64_t a, uint64_t b, bool accumulate);
template <class T, int kN>
HG_DEV void wgmma(float (&d)[kN / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate);

// The accumulators as asm operands, and their names in the instruction text.
#define HG_D8(i)                                                                                              \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
#define HG_D16(i) HG_D8(i), HG_D8(i + 8)
#define HG_D32(i) HG_D16(i), HG_D16(i + 16)
#define HG_REGISTERS_64 HG_D32(0)
#define HG_REGISTERS_96 HG_D32(0), HG_D16(32)
#define HG_REGISTERS_128 HG_D32(0), HG_D32(32)
#define HG_REGISTERS_192 HG_REGISTERS_128, HG_D32(64)
#define HG_REGISTERS_256 HG_REGISTERS_192, HG_D32(96)
#define HG_NAMES_64                                                        \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define HG_NAMES_96 HG_NAMES_64 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define HG_NAMES_128 HG_NAMES_96 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define HG_NAMES_192                                                                 \
  HG_NAMES_128                                                                       \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79" \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define HG_NAMES_256                                                                             \
  HG_NAMES_192                                                                                   \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

// O0..O5 name the operands after the accumulators: A, B and `accumulate`, where A is one descriptor or four registers.
#define HG_DEFINE_WGMMA(T, TYPE, N, O0, O1, O2, O3, O4, O5)                                                          \
  template <>                                                                                                        \
  HG_DEV void wgmma<T, N>(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate) {                              \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " O2 ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE \
                 "." TYPE " {" HG_NAMES_##N "}, " O0 ", " O1 ", p, 1, 1, 0, 0;\n}"                                   \
                 : HG_REGISTERS_##N                                                                                  \
                 : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));                                               \
  }                                                                                                                  \
  template <>                                                                                                        \
  HG_DEV void wgmma<T, N>(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {                  \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " O5 ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE \
                 "." TYPE " {" HG_NAMES_##N "}, {" O0 ", " O1 ", " O2 ", " O3 "}, " O4 ", p, 1, 1, 0;\n}"            \
                 : HG_REGISTERS_##N                                                                                  \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)));           \
  }
#define HG_DEFINE_WGMMA_SIZES(T, TYPE)                                      \
  HG_DEFINE_WGMMA(T, TYPE, 64, "%32", "%33", "%34", "%35", "%36", "%37")    \
  HG_DEFINE_WGMMA(T, TYPE, 96, "%48", "%49", "%50", "%51", "%52", "%53")    \
  HG_DEFINE_WGMMA(T, TYPE, 128, "%64", "%65", "%66", "%67", "%68", "%69")   \
  HG_DEFINE_WGMMA(T, TYPE, 192, "%96", "%97", "%98", "%99", "%100", "%101") \
  HG_DEFINE_WGMMA(T, TYPE, 256, "%128", "%129", "%130", "%131", "%132", "%133")
HG_DEFINE_WGMMA_SIZES(__half, "f16")
HG_DEFINE_WGMMA_SIZES(__nv_bfloat16, "bf16")

}  // namespace hgfast::cuda::ptx
