// What is wrong with a kernel, as an exception of its launch that says where.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace hgfast::ptx {

struct Warp;

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws an Error: the message, then kernel, instruction, source line, block, thread.
[[noreturn]] void fail(const Warp& warp, const std::string& message);
[[noreturn]] void fail(const Warp& warp, int lane, const std::string& message);
// The place alone: "[kernel: opcode at file:line, block 0,0,0, warp 1]".
std::string place(const Warp& warp, int lane = -1);

std::string hex(uint64_t value);

}  // namespace hgfast::ptx
