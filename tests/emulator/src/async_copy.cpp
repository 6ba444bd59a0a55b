// cp.async: the data appear in shared memory when the thread waits for their group (or at once, by the schedule).
#include <cstring>

#include "access.h"
#include "emulator/ptx_copy.h"
#include "engine.h"
#include "global_memory.h"
#include "shared_shadow.h"

namespace hgfast::emu {

namespace {

void move_bytes(unsigned char* target, const void* source, int bytes, int source_bytes) {
  std::memcpy(target, source, source_bytes);
  std::memset(target + source_bytes, 0, bytes - source_bytes);
}

void check_operands(const Block& block, uint32_t destination, const void* source, int bytes, int source_bytes,
                    Site site) {
  const std::string at = where(site);
  if (source_bytes < 0 || source_bytes > bytes) fail("cp.async at %s: %d of %d bytes", at.c_str(), source_bytes, bytes);
  if (destination % bytes || reinterpret_cast<uintptr_t>(source) % bytes)
    fail("cp.async at %s: misaligned for %d bytes: shared 0x%x, global %p", at.c_str(), bytes, destination, source);
  if (!block.shared.valid(destination, bytes))
    fail("cp.async at %s is outside every shared array: %s", at.c_str(), block.shared.describe(destination).c_str());
  if (source_bytes) check_global(source, source_bytes, false, ("cp.async at " + at).c_str());
}

}  // namespace

void cp_async(uint32_t destination, const void* source, int bytes, int source_bytes, Site site) {
  Block& block = *engine.block;
  Lane& me = *engine.lane;
  const void* pc = __builtin_return_address(0);
  ++engine.stats.cp_async;
  check_operands(block, destination, source, bytes, source_bytes, site);
  const SharedAccess write{destination, static_cast<size_t>(bytes), true, me.index, pc};
  if (engine.checking) {
    if (source_bytes) note_access(source, source_bytes, false, pc);
    block.shadow->launch(block, write);
  }
  unsigned char* target = block.shared.at(destination);
  const bool deferred = defer_async();
  if (deferred)
    std::memset(target, 0xff, bytes);  // whoever reads it now sees NaN
  else
    move_bytes(target, source, bytes, source_bytes);
  me.copies.add([=, &block] {
    if (deferred) move_bytes(target, source, bytes, source_bytes);
    if (!engine.checking) return;
    block.shadow->land(destination, bytes);
    block.shadow->note(block, write);
  });
}

void cp_async_commit() { engine.lane->copies.commit(); }

void cp_async_wait(int pending_groups) { engine.lane->copies.wait(pending_groups); }

}  // namespace hgfast::emu
