// Operands and forms of add, sub, mul, div, rem, min, max, neg, abs, mad, fma and the approximate functions (PTX ISA,
// "Integer Arithmetic", "Floating Point", "Half Precision Floating Point Instructions").
#include "decoder.h"
#include "families.h"
#include "lanewise.h"

namespace hgfast::ptx {

namespace {

bool is_half(const Text& type) { return type == "f16" || type == "bf16" || type == "f16x2" || type == "bf16x2"; }

char rounding(const Decoder& d) {
  const Text mode = d.opcode.one_of("rz rm rp");
  return mode.empty() ? 'n' : mode[1];
}

// Carries and saturation are in no kernel so far.
bool is_refused(const Decoder& d) { return d.has("cc") || d.has("sat") || d.has("relu") || d.has("xorsign"); }

}  // namespace

Handler decode_arithmetic(Decoder& d) {
  Instruction& i = *d.now;
  const Text type = d.type();
  const int bytes = d.bytes();
  const bool wide = d.has("wide");
  if (is_refused(d) || d.operands.size() > 3) return nullptr;
  i.d = d.destination(0, wide ? 2 * bytes : bytes);
  i.a = d.source(1, bytes);
  if (d.operands.size() == 3) i.b = d.source(2, bytes);
  if (wide) return wide_multiply(type, false);
  if (is_half(type)) return rounding(d) == 'n' ? half_arithmetic(d.opcode.name, type, d.has("NaN")) : nullptr;
  if (is_float(type)) return float_arithmetic(d.opcode.name, type, rounding(d), d.has("NaN"), d.has("ftz"));
  return integer_arithmetic(d.opcode.name, type, d.has("hi"));
}

Handler decode_multiply_add(Decoder& d) {
  Instruction& i = *d.now;
  const Text type = d.type();
  const int bytes = d.bytes(), sum = d.has("wide") ? 2 * bytes : bytes;
  if (is_refused(d)) return nullptr;
  i.d = d.destination(0, sum), i.a = d.source(1, bytes), i.b = d.source(2, bytes), i.c = d.source(3, sum);
  if (d.has("wide")) return wide_multiply(type, true);
  if (is_half(type)) return rounding(d) == 'n' ? half_multiply_add(type) : nullptr;
  return is_float(type) ? float_multiply_add(type, rounding(d)) : integer_multiply_add(type, d.has("hi"));
}

}  // namespace hgfast::ptx
