// Runs a convolution by the algorithm of its layout in float32 arithmetic, on activations of either storage type.
#pragma once

#include "cpu/conv_engine.h"
#include "cpu/conv_transform.h"

namespace hgfast::cpu::HGFAST_ISA {

template <class Tiles>
void run_tiles(const Conv& conv, const ConvLayout& layout) {
  ConvEngine<Tiles>(conv, layout).run();
}

template <class T>
void run_conv(const Conv& conv, const ConvLayout& layout) {
  switch (layout.tiling.algorithm) {
    case ConvAlgorithm::kF23:
      return run_tiles<WinogradTiles<F23, T>>(conv, layout);
    case ConvAlgorithm::kF43:
      return run_tiles<WinogradTiles<F43, T>>(conv, layout);
    case ConvAlgorithm::kF63:
      return run_tiles<WinogradTiles<F63, T>>(conv, layout);
    case ConvAlgorithm::kS23:
      return run_tiles<WinogradTiles<S23, T>>(conv, layout);
    case ConvAlgorithm::kS43:
      return run_tiles<WinogradTiles<S43, T>>(conv, layout);
    default:
      return run_tiles<DirectTiles<T, T>>(conv, layout);
  }
}

// conv_bf16.cpp
void conv_bf16(const Conv& conv, const ConvLayout& layout);

}  // namespace hgfast::cpu::HGFAST_ISA
