// The PTX that nvcc has put into a module.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "program.h"

namespace hgfast::ptx {

// The compute capability of the device, times 10: 80, 90, 100 ($HGFAST_PTX_ARCH; default 90).
int device_capability();

// All images of one source file.
class FatBinary {
 public:
  // data: what nvcc's registration code passes. Throws Error where its PTX is compressed.
  explicit FatBinary(const uint8_t* data);
  // The newest PTX that the device can run, read on first use. Throws Error where there is none.
  Module& module();

 private:
  std::vector<std::string_view> images_;
  std::unique_ptr<Module> module_;
};

}  // namespace hgfast::ptx
