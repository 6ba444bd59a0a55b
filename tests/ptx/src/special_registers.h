// Special registers (PTX ISA, "Special Registers") whose values a warp knows from the start.
#pragma once

#include <cstdint>
#include <string>

namespace hgfast::ptx {

struct Warp;

// Number of a special register, or -1. Clocks are none of them: they are read when the instruction runs.
int special_register(const std::string& name);
uint32_t special_value(const Warp& warp, int number, int lane);
// %clock, %clock64, %globaltimer: read by mov alone.
bool is_clock(const std::string& name);

}  // namespace hgfast::ptx
