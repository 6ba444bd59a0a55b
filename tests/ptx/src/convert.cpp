// cvt (PTX ISA, "cvt"). Registers may be wider than the types: sources are read from their low bytes, results extended.
// What else an instruction says is in its Form.
#include <algorithm>
#include <limits>

#include "decoder.h"
#include "families.h"
#include "half.h"
#include "lanewise.h"

namespace hgfast::ptx {

namespace {

// An integer type.
struct Integer {
  uint8_t bytes = 0;
  bool sign = false;

  int64_t least() const { return sign ? static_cast<int64_t>(~uint64_t{0} << (8 * bytes - 1)) : 0; }
  uint64_t most() const { return ~uint64_t{0} >> (64 - 8 * bytes + sign); }
  int64_t clamped(int64_t value, bool value_signed) const {
    if (value_signed && value < least()) return least();
    const bool positive = !value_signed || value > 0;
    return positive && static_cast<uint64_t>(value) > most() ? static_cast<int64_t>(most()) : value;
  }
};

// Packed in an instruction's offset and offset2.
struct Form {
  uint8_t to_bytes, from_bytes;  // of the registers
  char rounding;                 // n, z, m, p; 0: none given
  bool integral;                 // .rni and such: round to a whole number
  bool saturate, flush, relu;
  Integer to, from;  // where these are integers
};
static_assert(sizeof(Form) <= 2 * sizeof(int64_t));

Form form_of(const Instruction& i) {
  const int64_t packed[2] = {i.offset, i.offset2};
  Form form;
  std::memcpy(&form, packed, sizeof form);
  return form;
}
void set_form(Instruction& i, const Form& form) {
  int64_t packed[2] = {};
  std::memcpy(packed, &form, sizeof form);
  i.offset = packed[0], i.offset2 = packed[1];
}

// The low bytes of a value into a register.
void write(Warp& w, Register r, uint32_t stride, int lane, int64_t value) {
  std::memcpy(w.at<uint8_t>(r) + static_cast<size_t>(lane) * stride, &value, stride);
}

// Floats of each type as doubles, and back.
struct F16 {
  static double load(const Warp& w, Register r, int l) { return Half::value(w.at<uint16_t>(r)[l]); }
  static void store(Warp& w, Register r, int l, double v, char mode) {
    w.at<uint16_t>(r)[l] = mode == 'z' ? Half::toward_zero(round_to_float(v, 'z')) : Half::nearest(round_to_odd(v));
  }
};
struct BF16 {
  static double load(const Warp& w, Register r, int l) { return BFloat16::value(w.at<uint16_t>(r)[l]); }
  static void store(Warp& w, Register r, int l, double v, char mode) {
    w.at<uint16_t>(r)[l] =
        mode == 'z' ? BFloat16::toward_zero(round_to_float(v, 'z')) : BFloat16::nearest(round_to_odd(v));
  }
};
struct F32 {
  static double load(const Warp& w, Register r, int l) { return w.at<float>(r)[l]; }
  static void store(Warp& w, Register r, int l, double v, char mode) { w.at<float>(r)[l] = round_to_float(v, mode); }
};
struct F64 {
  static double load(const Warp& w, Register r, int l) { return w.at<double>(r)[l]; }
  static void store(Warp& w, Register r, int l, double v, char) { w.at<double>(r)[l] = v; }
};

double to_whole(double v, char rounding) {
  switch (rounding) {
    case 'z':
      return std::trunc(v);
    case 'm':
      return std::floor(v);
    case 'p':
      return std::ceil(v);
    default:
      return std::nearbyint(v);  // ties to even
  }
}

template <class From, class To>
Step float_to_float(Warp& w, const Instruction& i) {
  const Form form = form_of(i);
  for_lanes(w, [&](int l) {
    double v = From::load(w, i.a, l);
    if (form.integral) v = to_whole(v, form.rounding);
    if (form.saturate) v = v > 0 ? std::min(v, 1.0) : 0.0;  // NaN becomes 0
    if (form.relu && !std::isnan(v)) v = std::max(v, 0.0);
    if (form.flush && std::fabs(v) < std::numeric_limits<float>::min()) v = std::copysign(0.0, v);
    To::store(w, i.d, l, v, form.integral || !form.rounding ? 'n' : form.rounding);
  });
  return Step::kNext;
}

// A value of 1, 2, 4 or 8 bytes, extended by its sign or zeros.
int64_t read_integer(const Warp& w, Register r, uint32_t stride, const Integer& type, int lane) {
  uint64_t bits = 0;
  std::memcpy(&bits, w.at<uint8_t>(r) + static_cast<size_t>(lane) * stride, type.bytes);
  const int unused = 64 - 8 * type.bytes;
  return type.sign ? static_cast<int64_t>(bits << unused) >> unused : static_cast<int64_t>(bits);
}

// Out-of-range values are clamped. NaN becomes 0, or in 64 bits the highest bit alone.
template <class From>
Step float_to_integer(Warp& w, const Instruction& i) {
  const Form form = form_of(i);
  for_lanes(w, [&](int l) {
    const double v = to_whole(From::load(w, i.a, l), form.rounding);
    uint64_t bits = 0;
    if (std::isnan(v))
      bits = form.to.bytes == 8 ? uint64_t{1} << 63 : 0;
    else if (v <= static_cast<double>(form.to.least()))
      bits = static_cast<uint64_t>(form.to.least());
    else if (v >= static_cast<double>(form.to.most()))
      bits = form.to.most();
    else
      bits = v < 0 ? static_cast<uint64_t>(static_cast<int64_t>(v)) : static_cast<uint64_t>(v);
    write(w, i.d, form.to_bytes, l, static_cast<int64_t>(bits));
  });
  return Step::kNext;
}

// f32 is rounded from the integer itself; the others are wide enough in double, as are 32-bit integers.
template <class To>
Step integer_to_float(Warp& w, const Instruction& i) {
  const Form form = form_of(i);
  for_lanes(w, [&](int l) {
    const int64_t v = read_integer(w, i.a, form.from_bytes, form.from, l);
    const bool large = !form.from.sign && v < 0;  // an unsigned one of 2^63 or more
    if (std::is_same_v<To, F32> && form.rounding == 'n')
      w.at<float>(i.d)[l] = large ? static_cast<float>(static_cast<uint64_t>(v)) : static_cast<float>(v);
    else
      To::store(w, i.d, l, large ? static_cast<double>(static_cast<uint64_t>(v)) : static_cast<double>(v),
                form.rounding);
  });
  return Step::kNext;
}

Step integer_to_integer(Warp& w, const Instruction& i) {
  const Form form = form_of(i);
  for_lanes(w, [&](int l) {
    int64_t value = read_integer(w, i.a, form.from_bytes, form.from, l);
    if (form.saturate) value = form.to.clamped(value, form.from.sign);
    const int unused = 64 - 8 * form.to.bytes;
    const uint64_t bits = static_cast<uint64_t>(value) << unused;
    write(w, i.d, form.to_bytes, l,
          form.to.sign ? static_cast<int64_t>(bits) >> unused : static_cast<int64_t>(bits >> unused));
  });
  return Step::kNext;
}
// The same where no register is wider than its type and nothing is clamped.
template <class From, class To>
Step plain_integer(Warp& w, const Instruction& i) {
  To* const d = w.at<To>(i.d);
  const From* const a = w.at<From>(i.a);
  for_lanes(w, [=](int l) { d[l] = static_cast<To>(a[l]); });
  return Step::kNext;
}

// The commonest forms in vectors.
template <class H>
Step widen_half(Warp& w, const Instruction& i) {
  float* const d = w.at<float>(i.d);
  const uint16_t* const a = w.at<uint16_t>(i.a);
  for_lanes(w, [=](int l) { d[l] = H::value(a[l]); });
  return Step::kNext;
}
template <class H>
Step round_half(Warp& w, const Instruction& i) {
  uint16_t* const d = w.at<uint16_t>(i.d);
  const float* const a = w.at<float>(i.a);
  for_lanes(w, [=](int l) { d[l] = H::nearest(a[l]); });
  return Step::kNext;
}
template <class H>
Step round_pair(Warp& w, const Instruction& i) {  // a goes to the upper half
  const bool relu = form_of(i).relu;
  auto bits = [&](float v) -> uint32_t { return H::nearest(relu && v < 0 ? 0.0f : v); };
  for_lanes(w, [&](int l) { w.at<uint32_t>(i.d)[l] = bits(w.at<float>(i.a)[l]) << 16 | bits(w.at<float>(i.b)[l]); });
  return Step::kNext;
}
struct TiesAway {
  static uint32_t f(uint32_t bits) { return tf32_ties_away(bits); }
};
struct TiesEven {
  static uint32_t f(uint32_t bits) { return tf32_ties_even(bits); }
};

// The type of a name, as a tag that a generic lambda takes.
template <class T>
struct Tag {
  using type = T;
};
template <class F>
Handler with_float(const Text& type, const F& f) {
  if (type == "f16") return f(Tag<F16>());
  if (type == "bf16") return f(Tag<BF16>());
  return type == "f32" ? f(Tag<F32>()) : f(Tag<F64>());
}
#define HGFAST_TYPE(TAG) typename decltype(TAG)::type

Handler convert(const Text& to, const Text& from) {
  if (is_float(to) && is_float(from))
    return with_float(from, [&](auto f) {
      return with_float(to, [&](auto t) -> Handler { return float_to_float<HGFAST_TYPE(f), HGFAST_TYPE(t)>; });
    });
  if (is_float(from)) return with_float(from, [](auto f) -> Handler { return float_to_integer<HGFAST_TYPE(f)>; });
  if (is_float(to)) return with_float(to, [](auto t) -> Handler { return integer_to_float<HGFAST_TYPE(t)>; });
  return integer_to_integer;
}

// The commonest conversions between integers, which change nothing but the width.
Handler plain_width(const Text& from, int to_bytes, int from_bytes) {
  if (to_bytes == 8 && from_bytes == 4 && type_bytes(from) == 4)
    return is_signed(from) ? plain_integer<int32_t, int64_t> : plain_integer<uint32_t, uint64_t>;
  return to_bytes == 4 && from_bytes == 8 && type_bytes(from) == 8 ? plain_integer<uint64_t, uint32_t> : nullptr;
}

Handler plain_half(const Text& to, const Text& from, char rounding) {
  if (to == "f32" && from == "f16") return widen_half<Half>;
  if (to == "f32" && from == "bf16") return widen_half<BFloat16>;
  if (to == "f16" && from == "f32" && rounding == 'n') return round_half<Half>;
  return to == "bf16" && from == "f32" && rounding == 'n' ? round_half<BFloat16> : nullptr;
}

Handler decode_pair(Decoder& d) {
  Instruction& i = *d.now;
  if (!d.has("rn") || d.opcode.types.at(1) != "f32") return nullptr;
  i.d = d.destination(0, 4), i.a = d.source(1, 4), i.b = d.source(2, 4);
  return d.type() == "f16x2" ? round_pair<Half> : round_pair<BFloat16>;
}

Handler decode_tf32(Decoder& d) {
  d.now->d = d.destination(0, 4), d.now->a = d.source(1, 4);
  if (d.opcode.modifiers.size() != 1) return nullptr;
  return d.has("rna") ? unary<uint32_t, TiesAway> : d.has("rn") ? unary<uint32_t, TiesEven> : nullptr;
}

}  // namespace

Handler decode_cvt(Decoder& d) {
  Instruction& i = *d.now;
  const Text to = d.type(), mode = d.opcode.one_of("rn rz rm rp rni rzi rmi rpi");
  Form form{0, 0, mode.empty() ? '\0' : mode[1], mode.size() == 3, d.has("sat"), d.has("ftz"), d.has("relu"), {}, {}};
  set_form(i, form);
  if (to == "f16x2" || to == "bf16x2") return decode_pair(d);
  if (to == "tf32") return decode_tf32(d);
  const Text from = d.opcode.types.at(1);
  int to_bytes = 0, from_bytes = 0;
  i.d = d.wide_destination(d.operand(0), d.bytes(), to_bytes);
  i.a = d.wide_source(d.operand(1), type_bytes(from), from_bytes);
  form.to_bytes = static_cast<uint8_t>(to_bytes), form.from_bytes = static_cast<uint8_t>(from_bytes);
  form.to = {static_cast<uint8_t>(d.bytes()), is_signed(to)};
  form.from = {static_cast<uint8_t>(type_bytes(from)), is_signed(from)};
  set_form(i, form);
  if (is_float(from) && !is_float(to) && !form.integral) return nullptr;
  const bool plain = !form.integral && !form.saturate && !form.flush && !form.relu;
  const bool widths = plain && !is_float(to) && !is_float(from) && type_bytes(to) == to_bytes;
  const Handler quick = widths  ? plain_width(from, to_bytes, from_bytes)
                        : plain ? plain_half(to, from, form.rounding)
                                : nullptr;
  return quick ? quick : convert(to, from);
}

}  // namespace hgfast::ptx
