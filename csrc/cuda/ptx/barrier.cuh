// Named barriers, mbarriers (sm_80/sm_90), proxy fences and the register budget of a warpgroup (sm_90a).
#pragma once

#include "cuda/compat.cuh"
#include "cuda/wait_fault.cuh"

namespace hgfast::cuda::ptx {

// Barrier `id` (1..15; 0 is __syncthreads) for `threads` threads, a multiple of 32.
HG_DEV void named_barrier_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
HG_DEV void named_barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// An mbarrier is 8 aligned bytes of shared memory. A phase ends after `arrivals` arrivals and all expected bytes.
HG_DEV void mbarrier_init(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
// Makes the initialised mbarriers visible to the async proxy; a block barrier makes them visible to other threads.
HG_DEV void fence_mbarrier_init() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

HG_DEV void mbarrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// Arrives and adds `bytes` to the number of bytes that asynchronous copies must deliver in this phase.
HG_DEV void mbarrier_arrive_expect_tx(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
// Whether the phase of this parity has ended (the first phase has parity 0); the hardware may wait a while for it.
HG_DEV bool mbarrier_try_wait(uint32_t barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
      "selp.u32 %0, 1, 0, done;\n"
      "}"
      : "=r"(done)
      : "r"(barrier), "r"(parity)
      : "memory");
  return done;
}
HG_DEV uint64_t nanoseconds() {
  uint64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

constexpr uint64_t kWaitLimit = 20'000'000'000;  // nanoseconds; debuggers and sanitizers slow a kernel a hundredfold
constexpr uint32_t kTriesPerClock = 4096;

// Waits for the end of the phase of this parity. A thread that waits longer than kWaitLimit says so in `fault` (which
// may be null) and traps, where it would hang for good: a byte count is wrong, or an arrival missing.
HG_DEV void mbarrier_wait(uint32_t barrier, uint32_t parity, WaitFault* fault = nullptr) {
  uint64_t start = 0;
  for (uint32_t tries = 1; !mbarrier_try_wait(barrier, parity); ++tries) {
    if (tries % kTriesPerClock != 0) continue;
    const uint64_t now = nanoseconds();
    if (start == 0) start = now;
    if (now - start <= kWaitLimit) continue;
    if (fault != nullptr) {
      *fault = {1, blockIdx.x, threadIdx.x, barrier, parity};
      __threadfence_system();
    }
    __trap();
  }
}

// Orders this thread's ordinary writes to shared memory before later reads by TMA stores and wgmma.
HG_DEV void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Gives registers back (dec) or takes them (inc); kRegisters is a multiple of 8 in 24..256; the whole warpgroup calls.
template <int kRegisters>
HG_DEV void setmaxnreg_dec() {
  static_assert(kRegisters >= 24 && kRegisters <= 256 && kRegisters % 8 == 0);
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
HG_DEV void setmaxnreg_inc() {
  static_assert(kRegisters >= 24 && kRegisters <= 256 && kRegisters % 8 == 0);
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace hgfast::cuda::ptx
