// mma.sync: 16x8 products of a warp (PTX ISA, "Matrix Fragments for mma.m16n8k4/k8/k16"). Sums are float32, in order of
// k; tensor cores keep some bits more or less, which tolerances must allow.
#include "decoder.h"
#include "families.h"
#include "half.h"
#include "machine.h"

namespace hgfast::ptx {

namespace {

constexpr int kRows = 16, kColumns = 8, kSums = 4;

// Two elements of a register, and where its lane's elements lie: registers go down 8 rows first, then along k.
template <class H, int kDepth>
struct Halves {
  static constexpr int kA = kDepth / 4, kB = kDepth / 8;
  static void a(const uint32_t* words, int r, float (&out)[kRows][kDepth]) {
    for (int l = 0; l < kLanes; ++l)
      for (int e = 0; e < 2; ++e)
        out[l / 4 + 8 * (r % 2)][2 * (l % 4) + 8 * (r / 2) + e] = H::value(static_cast<uint16_t>(words[l] >> (16 * e)));
  }
  static void b(const uint32_t* words, int r, float (&out)[kDepth][kColumns]) {
    for (int l = 0; l < kLanes; ++l)
      for (int e = 0; e < 2; ++e)
        out[2 * (l % 4) + 8 * r + e][l / 4] = H::value(static_cast<uint16_t>(words[l] >> (16 * e)));
  }
};

template <int kDepth>
struct Tf32 {
  static constexpr int kA = kDepth / 2, kB = kDepth / 4;
  static void a(const uint32_t* words, int r, float (&out)[kRows][kDepth]) {
    for (int l = 0; l < kLanes; ++l) out[l / 4 + 8 * (r % 2)][l % 4 + 4 * (r / 2)] = tf32_value(words[l]);
  }
  static void b(const uint32_t* words, int r, float (&out)[kDepth][kColumns]) {
    for (int l = 0; l < kLanes; ++l) out[l % 4 + 4 * r][l / 4] = tf32_value(words[l]);
  }
};

// list: D, A, B, C.
template <class Fragment, int kDepth>
Step multiply(Warp& w, const Instruction& i) {
  ++stats.mma;
  float a[kRows][kDepth], b[kDepth][kColumns], sum[kRows][kColumns];
  const Register* next = i.list.data() + kSums;
  for (int r = 0; r < Fragment::kA; ++r) Fragment::a(w.at<uint32_t>(*next++), r, a);
  for (int r = 0; r < Fragment::kB; ++r) Fragment::b(w.at<uint32_t>(*next++), r, b);
  for (int r = 0; r < kSums; ++r, ++next)
    for (int l = 0; l < kLanes; ++l) sum[l / 4 + 8 * (r / 2)][2 * (l % 4) + r % 2] = w.at<float>(*next)[l];
  for (int row = 0; row < kRows; ++row)
    for (int k = 0; k < kDepth; ++k)
      for (int column = 0; column < kColumns; ++column) sum[row][column] += a[row][k] * b[k][column];
  for (int r = 0; r < kSums; ++r)
    for (int l = 0; l < kLanes; ++l)
      w.at<float>(i.list[static_cast<size_t>(r)])[l] = sum[l / 4 + 8 * (r / 2)][2 * (l % 4) + r % 2];
  return Step::kNext;
}

template <class Fragment, int kDepth>
Handler if_complete(const Instruction& i) {
  return i.list.size() == 2 * kSums + Fragment::kA + Fragment::kB ? multiply<Fragment, kDepth> : nullptr;
}

}  // namespace

Handler decode_mma(Decoder& d) {
  Instruction& i = *d.now;
  i.together = Together::kWarp;
  const auto& types = d.opcode.types;  // of D, A, B, C
  if (!d.has("row") || !d.has("col") || types.size() != 4) return nullptr;
  if (types[0] != "f32" || types[3] != "f32" || types[1] != types[2]) return nullptr;
  for (size_t operand = 0; operand < 4; ++operand)
    for (const Text& r : vector_elements(d.operand(operand)))
      i.list.push_back(operand == 0 ? d.destination(r, 4) : d.source(r, 4));
  const Text& type = types[1];
  if (d.has("m16n8k16") && type == "f16") return if_complete<Halves<Half, 16>, 16>(i);
  if (d.has("m16n8k16") && type == "bf16") return if_complete<Halves<BFloat16, 16>, 16>(i);
  if (d.has("m16n8k8") && type == "f16") return if_complete<Halves<Half, 8>, 8>(i);
  if (d.has("m16n8k8") && type == "bf16") return if_complete<Halves<BFloat16, 8>, 8>(i);
  if (d.has("m16n8k8") && type == "tf32") return if_complete<Tf32<8>, 8>(i);
  return d.has("m16n8k4") && type == "tf32" ? if_complete<Tf32<4>, 4>(i) : nullptr;
}

}  // namespace hgfast::ptx
