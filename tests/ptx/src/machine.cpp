#include "machine.h"

#include <algorithm>
#include <cstdio>

namespace hgfast::ptx {

Options options;
Stats stats;

void Deferred::commit() {
  groups_.push_back(std::move(open_));
  open_.clear();
}

void Deferred::wait(size_t keep) {
  for (; groups_.size() > keep; groups_.pop_front())
    for (const auto& operation : groups_.front()) operation();
}

void Deferred::finish() {
  commit();
  wait(0);
}

bool Cluster::ended() const {
  return std::all_of(blocks.begin(), blocks.end(), [](const auto& block) {
    return std::all_of(block->warps.begin(), block->warps.end(), [](const auto& warp) { return warp->ended(); });
  });
}

uint32_t uniform(const Warp& w, Register r) {
  const uint32_t value = w.at<uint32_t>(r)[w.first_lane()];
  for_lanes(w, [&](int lane) {
    if (w.at<uint32_t>(r)[lane] != value) fail(w, lane, "an operand differs between the lanes of a warp");
  });
  return value;
}

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

namespace {

std::string triple(const Dim& d) {
  return "(" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) + ")";
}

Dim thread_of(const Launch& launch, uint32_t linear) {
  const uint32_t x = launch.block.x, y = launch.block.y;
  return {linear % x, linear / x % y, linear / x / y};
}

}  // namespace

std::string place(const Warp& w, int lane) {
  const Launch& launch = *w.block->launch;
  std::string text = "kernel " + launch.entry.name + ": block " + triple(w.block->index);
  if (lane >= 0)
    text += " thread " + triple(thread_of(launch, w.id * kLanes + static_cast<uint32_t>(lane))) + " [warp " +
            std::to_string(w.id) + " lane " + std::to_string(lane) + "]";
  else
    text += " warp " + std::to_string(w.id);
  if (w.pc >= launch.entry.code.size()) return text;
  const Instruction& i = launch.entry.code[w.pc];
  text += " at " + launch.module.opcodes[i.opcode];
  const auto file = launch.module.files.find(i.file);
  if (file == launch.module.files.end()) return text;
  return text + " (" + file->second.substr(file->second.rfind('/') + 1) + ":" + std::to_string(i.line) + ")";
}

void fail(const Warp& w, const std::string& message) { fail(w, -1, message); }
void fail(const Warp& w, int lane, const std::string& message) { throw Error(place(w, lane) + ": " + message); }

}  // namespace hgfast::ptx
