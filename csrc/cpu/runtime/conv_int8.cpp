// Operations on codes (common/conv_int8.h), which only the CPU has: their dispatch, as in dispatch.cpp, and bindings.
#include "common/conv_int8.h"

#include <pybind11/stl.h>

#include <limits>
#include <tuple>

#include "bindings/bindings.h"
#include "cpu/runtime/isa.h"

#define HGFAST_DECLARE_CODES(name, Problem) void name(const Problem&, Exec);
#define HGFAST_DECLARE_CODES_OF(isa)                  \
  namespace hgfast::cpu::isa {                        \
  HGFAST_FOR_EACH_INT8_CONV_OP(HGFAST_DECLARE_CODES)  \
  HGFAST_FOR_EACH_INT8_PLAIN_OP(HGFAST_DECLARE_CODES) \
  }

HGFAST_DECLARE_CODES_OF(baseline)
HGFAST_DECLARE_CODES_OF(avx2)
HGFAST_DECLARE_CODES_OF(avx512)
namespace hgfast::cpu::avx512_bf16 {
HGFAST_FOR_EACH_INT8_CONV_OP(HGFAST_DECLARE_CODES)
}

#ifdef HGFAST_X86_VARIANTS
#define HGFAST_DEFINE_CODES(name, Problem, with_vnni)                   \
  static void name##_here(const Problem& problem, Exec exec) {          \
    const Isa isa = current_isa();                                      \
    if (isa >= Isa::kAvx512Bf16) return with_vnni::name(problem, exec); \
    if (isa == Isa::kAvx512) return avx512::name(problem, exec);        \
    if (isa == Isa::kAvx2) return avx2::name(problem, exec);            \
    baseline::name(problem, exec);                                      \
  }
#else
#define HGFAST_DEFINE_CODES(name, Problem, with_vnni) \
  static void name##_here(const Problem& problem, Exec exec) { baseline::name(problem, exec); }
#endif
#define HGFAST_DEFINE_CONV_CODES(name, Problem) HGFAST_DEFINE_CODES(name, Problem, avx512_bf16)
#define HGFAST_DEFINE_PLAIN_CODES(name, Problem) HGFAST_DEFINE_CODES(name, Problem, avx512)

namespace hgfast::cpu {
HGFAST_FOR_EACH_INT8_CONV_OP(HGFAST_DEFINE_CONV_CODES)
HGFAST_FOR_EACH_INT8_PLAIN_OP(HGFAST_DEFINE_PLAIN_CODES)

namespace {

Codes checked_codes(const char* where, float scale, int64_t zero) {
  HGFAST_CHECK(scale > 0 && scale < std::numeric_limits<float>::infinity(), where,
               ": the scale of codes must be positive and finite, got ", scale);
  HGFAST_CHECK(zero >= 0 && zero <= 255, where, ": the code of zero must be from 0 to 255, got ", zero);
  return {scale, zero};
}

using CodesTuple = std::tuple<float, int64_t>;  // scale, zero

Codes as_codes(const CodesTuple& codes) { return checked_codes("conv_int8", std::get<0>(codes), std::get<1>(codes)); }

// How the tensors of a convolution are coded; of what is absent, or stored as numbers, the codes do not count.
struct ConvCodes {
  int64_t x_zero, residual_coded, upsample_to_coded;
  Codes residual, upsample_to, y, y2;

  ConvCodes(int64_t x_zero, int64_t residual_coded, const CodesTuple& residual, int64_t upsample_to_coded,
            const CodesTuple& upsample_to, const CodesTuple& y, const CodesTuple& y2)
      : x_zero(checked_codes("conv_int8", 1, x_zero).zero),
        residual_coded(residual_coded),
        upsample_to_coded(upsample_to_coded),
        residual(as_codes(residual)),
        upsample_to(as_codes(upsample_to)),
        y(as_codes(y)),
        y2(as_codes(y2)) {}
};

}  // namespace

void bind_codes(py::module_& m) {
  m.def("conv_int8_query", [](const ConvShape& shape, Exec exec) {
    ConvInt8Query::Answer answer;
    conv_int8_query_here({shape, &answer}, exec);
    return py::make_tuple(answer.packed_bytes, answer.workspace_bytes, answer.kernel, answer.fast != 0);
  });
  m.def("conv_int8_pack", [](const ConvShape& shape, Address weight, Address extra, Address packed, Exec exec) {
    conv_int8_pack_here({shape, as_pointer<int8_t>(weight), as_pointer<int8_t>(extra), as_pointer(packed)}, exec);
  });
  py::class_<ConvCodes>(m, "ConvCodes", py::module_local())
      .def(py::init<int64_t, int64_t, const CodesTuple&, int64_t, const CodesTuple&, const CodesTuple&,
                    const CodesTuple&>());
  m.def("conv_int8", [](const ConvShape& shape, const ConvCodes& codes, Address x, Address extra_x, Address weight,
                        Address scale, Address bias, Address residual, Address upsample_to, Address y, Address y_codes,
                        Address scale2, Address shift2, Address y2, Address y2_codes, int64_t relu, Address workspace,
                        int64_t workspace_bytes, Exec exec) {
    conv_int8_here({shape,
                    as_pointer<uint8_t>(x),
                    codes.x_zero,
                    as_pointer<uint8_t>(extra_x),
                    as_pointer(weight),
                    as_pointer<float>(scale),
                    as_pointer<float>(bias),
                    {as_pointer(residual), codes.residual_coded, codes.residual},
                    {as_pointer(upsample_to), codes.upsample_to_coded, codes.upsample_to},
                    relu,
                    {as_pointer(y), as_pointer<uint8_t>(y_codes), codes.y},
                    as_pointer<float>(scale2),
                    as_pointer<float>(shift2),
                    {as_pointer(y2), as_pointer<uint8_t>(y2_codes), codes.y2},
                    as_pointer(workspace),
                    workspace_bytes},
                   exec);
  });
  m.def("quantise", [](Address x, Address codes, float scale, int64_t zero, int dtype, int64_t count, Exec exec) {
    quantise_here(
        {as_pointer(x), as_pointer<uint8_t>(codes), checked_codes("quantise", scale, zero), DType(dtype), count}, exec);
  });
  m.def("dequantise",
        [](Address codes, Address numbers, float scale, int64_t zero, int dtype, int64_t count, Exec exec) {
          dequantise_here({as_pointer<uint8_t>(codes), checked_codes("dequantise", scale, zero), as_pointer(numbers),
                           DType(dtype), count},
                          exec);
        });
  m.def("max_pool_codes", [](Address x, Address y, int64_t n, int64_t h, int64_t w, int64_t c, Exec exec) {
    max_pool_codes_here({as_pointer<uint8_t>(x), as_pointer<uint8_t>(y), n, h, w, c}, exec);
  });
}

}  // namespace hgfast::cpu

#undef HGFAST_DECLARE_CODES
#undef HGFAST_DECLARE_CODES_OF
#undef HGFAST_DEFINE_CODES
#undef HGFAST_DEFINE_CONV_CODES
#undef HGFAST_DEFINE_PLAIN_CODES
