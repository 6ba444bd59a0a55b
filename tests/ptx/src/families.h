// The families of instructions: each reads its operands from the decoder and returns what executes them, or null for a
// form that is not modelled.
#pragma once

#include <string>
#include <unordered_map>

#include "program.h"

namespace hgfast::ptx {

class Decoder;
using Family = Handler (*)(Decoder&);
const std::unordered_map<std::string, Family>& families();

// control.cpp
Handler decode_branch(Decoder&), decode_indexed_branch(Decoder&), decode_exit(Decoder&), decode_trap(Decoder&);
Handler decode_nothing(Decoder&), decode_pause(Decoder&);
// move.cpp, addresses.cpp
Handler decode_mov(Decoder&), decode_selp(Decoder&), decode_createpolicy(Decoder&);
Handler decode_cvta(Decoder&), decode_isspacep(Decoder&), decode_mapa(Decoder&);
// memory.cpp, atomics.cpp
Handler decode_load(Decoder&), decode_store(Decoder&), decode_atomic(Decoder&);
// arithmetic.cpp, integers.cpp, floats.cpp, halves.cpp
Handler decode_arithmetic(Decoder&), decode_multiply_add(Decoder&);
// bits.cpp, logic.cpp
Handler decode_logic(Decoder&), decode_shift(Decoder&), decode_funnel_shift(Decoder&), decode_permute(Decoder&);
Handler decode_lop3(Decoder&), decode_bit_insert(Decoder&), decode_bit_extract(Decoder&), decode_bit_count(Decoder&);
// compare.cpp, convert.cpp
Handler decode_setp(Decoder&), decode_cvt(Decoder&);
// warp.cpp
Handler decode_shfl(Decoder&), decode_vote(Decoder&), decode_activemask(Decoder&), decode_elect(Decoder&);
Handler decode_redux(Decoder&), decode_match(Decoder&);
// barrier.cpp, setmaxnreg.cpp
Handler decode_barrier(Decoder&), decode_setmaxnreg(Decoder&);
// matrix.cpp, mma.cpp, wgmma.cpp
Handler decode_ldmatrix(Decoder&), decode_stmatrix(Decoder&), decode_mma(Decoder&), decode_wgmma(Decoder&);
// cp_async.cpp, mbarrier.cpp, tma.cpp
Handler decode_cp(Decoder&), decode_mbarrier(Decoder&), decode_bulk(Decoder&), decode_prefetch(Decoder&);

}  // namespace hgfast::ptx
