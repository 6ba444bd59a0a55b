// What the twins of CUDA's functions and of ptx.cuh ask of the emulator.
#pragma once

#include <cstddef>
#include <cstdint>

#include "emulator/site.h"

namespace hgfast::emu {

// Ends the launch with an error that names kernel, block and thread.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// ---- Warp collectives: the last lane to arrive runs `body` once; args[l] is lane l's argument.
using CollectiveBody = void (*)(void* const* args, uint32_t mask);
enum class Convergence { kAnyLine, kSameLine };  // kSameLine: all 32 lanes at one source line (.sync.aligned)
void warp_collective(CollectiveBody body, uint32_t mask, void* arg, Convergence convergence, const char* what,
                     Site site);
void sync_warp(uint32_t mask, Site site);
uint32_t ballot(uint32_t mask, bool predicate, Site site);

// ---- Barriers of a block. threads = 0: all threads of the block that have not exited.
enum class BarrierMode { kSync, kArrive };
void block_barrier(int id, int threads, BarrierMode mode, const char* what, Site site);

// ---- Shared memory
void* shared_static(const void* tag, size_t bytes, size_t align, const char* name);
unsigned char* shared_dynamic(size_t align);
uint32_t shared_address(const void* pointer);

// ---- Ordering between blocks
void thread_fence();
uint32_t load_acquire(const uint32_t* flag);
void store_release(uint32_t* flag, uint32_t value);

// Read-modify-write of global or shared memory, tells the race checker that the access is atomic.
void note_atomic(void* address, size_t bytes);

}  // namespace hgfast::emu
