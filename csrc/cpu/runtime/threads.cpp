// Threads of the CPU kernels.
//
// torch's wheels carry an OpenMP runtime of their own. Linking a second one would give the process two pools whose idle
// threads spin against each other, so hgfast links none: it looks up the runtime that is already loaded and starts its
// parallel regions there, on the very threads torch's operators use. A process without one gets plain std::threads.
#include <dlfcn.h>
#ifdef __linux__
#include <link.h>
#endif

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "cpu/parallel.h"
#include "cpu/runtime/openmp.h"

namespace hgfast::cpu {
namespace {

#ifdef __linux__
int find_openmp(dl_phdr_info* info, size_t, void* raw) {
  const char* name = info->dlpi_name;
  const char* base = name ? std::strrchr(name, '/') : nullptr;
  base = base ? base + 1 : name;
  if (base == nullptr) return 0;
  for (const char* prefix : {"libgomp", "libiomp5", "libomp"})
    if (std::strncmp(base, prefix, std::strlen(prefix)) == 0) {
      *static_cast<std::string*>(raw) = name;
      return 1;
    }
  return 0;
}
#endif

OpenMP look_up() {
  OpenMP openmp;
#ifdef __linux__
  static std::string path;
  dl_iterate_phdr(find_openmp, &path);
  if (path.empty()) return openmp;
  void* handle = dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  if (handle == nullptr) return openmp;
  openmp.parallel = reinterpret_cast<GompParallel>(dlsym(handle, "GOMP_parallel"));
  if (openmp.parallel == nullptr) return openmp;
  openmp.thread_number = reinterpret_cast<int (*)()>(dlsym(handle, "omp_get_thread_num"));
  openmp.path = path.c_str();
#endif
  return openmp;
}

struct Region {
  void (*body)(void*, int);
  void* context;
  int next_slot = 0;
};

void enter(void* raw) {
  auto& region = *static_cast<Region*>(raw);
  region.body(region.context, __atomic_fetch_add(&region.next_slot, 1, __ATOMIC_RELAXED));
}

void enter_numbered(void* raw) {
  auto& region = *static_cast<Region*>(raw);
  region.body(region.context, loaded_openmp().thread_number());
}

}  // namespace

const OpenMP& loaded_openmp() {
  static const OpenMP openmp = look_up();
  return openmp;
}

void run_on_threads(int threads, void (*body)(void* context, int slot), void* context) {
  Region region{body, context};
  if (const OpenMP& openmp = loaded_openmp(); openmp.parallel != nullptr) {
    openmp.parallel(openmp.thread_number ? enter_numbered : enter, &region, static_cast<unsigned>(threads), 0);
    return;
  }
  std::vector<std::thread> helpers;
  for (int i = 1; i < threads; ++i) helpers.emplace_back(enter, &region);
  enter(&region);
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace hgfast::cpu
