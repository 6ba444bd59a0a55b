#include "access.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdint>

#include "engine.h"
#include "global_memory.h"
#include "global_shadow.h"
#include "shared_shadow.h"

namespace hgfast::emu {

namespace {

// The mapped range of this module: its constants may be read by kernels.
struct ModuleRange {
  uintptr_t begin = 0, end = 0;

  static ModuleRange find() {
    ModuleRange range;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* data) {
          auto& range = *static_cast<ModuleRange*>(data);
          uintptr_t low = UINTPTR_MAX, high = 0;
          for (int i = 0; i < info->dlpi_phnum; ++i) {
            const auto& segment = info->dlpi_phdr[i];
            if (segment.p_type != PT_LOAD) continue;
            low = std::min<uintptr_t>(low, info->dlpi_addr + segment.p_vaddr);
            high = std::max<uintptr_t>(high, info->dlpi_addr + segment.p_vaddr + segment.p_memsz);
          }
          const auto here = reinterpret_cast<uintptr_t>(&engine);
          if (here < low || here >= high) return 0;
          range = {low, high};
          return 1;
        },
        &range);
    return range;
  }

  bool contains(const void* address) const {
    const auto p = reinterpret_cast<uintptr_t>(address);
    return p >= begin && p < end;
  }
};

bool is_launch_argument(const void* address) {
  const auto* begin = static_cast<const char*>(engine.launch.arguments);
  const auto* p = static_cast<const char*>(address);
  return p >= begin && p < begin + engine.launch.argument_bytes;
}

// A local variable: nobody else's, and no accumulator of a wgmma in flight.
void check_local(const Lane& lane, int owner, const char* p, size_t bytes, const void* pc) {
  if (owner != lane.index) fail("access to another thread's local memory at %s", source_line(pc).c_str());
  for (const InFlight& d : lane.accumulators)
    if (p < d.end && p + bytes > d.begin)
      fail("wgmma accumulators are used at %s before the wait for them", source_line(pc).c_str());
}

}  // namespace

void note_access(const void* address, size_t bytes, bool write, const void* pc) {
  Lane* lane = engine.lane;
  if (!lane) return;  // launchers, on the host
  Block& block = *engine.block;
  const int owner = block.stacks.owner(address);
  if (owner >= 0) return check_local(*lane, owner, static_cast<const char*>(address), bytes, pc);
  if (block.shared.contains(address)) {
    const auto offset = static_cast<uint32_t>(block.shared.offset_of(address));
    return block.shadow->note(block, {offset, bytes, write, lane->index, pc});
  }
  if (in_device_arena(address)) return note_global(address, bytes, write ? GlobalKind::kWrite : GlobalKind::kRead, pc);
  if (is_launch_argument(address) && !write) return;
  static const ModuleRange module = ModuleRange::find();
  Dl_info info;
  if (!write && (module.contains(address) || dladdr(address, &info))) return;
  fail("the kernel %s a host address at %s", write ? "writes to" : "reads from", source_line(pc).c_str());
}

}  // namespace hgfast::emu
