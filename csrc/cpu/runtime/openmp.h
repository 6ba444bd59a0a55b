// Access to the OpenMP runtime that is already in the process (torch's).
#pragma once

namespace hgfast::cpu {

// GNU libgomp's entry point for a parallel region; Intel's and LLVM's runtimes export it too.
using GompParallel = void (*)(void (*body)(void*), void* data, unsigned threads, unsigned flags);

struct OpenMP {
  GompParallel parallel = nullptr;   // null: none found, run_on_threads uses std::thread
  int (*thread_number)() = nullptr;  // of the calling thread in its region; null: unknown
  const char* path = "";             // the shared library it comes from
};

const OpenMP& loaded_openmp();

}  // namespace hgfast::cpu
