// A kernel as it is decoded: what the decoder makes and what running reads.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace hgfast::ptx {

struct Warp;
struct Instruction;

// What a warp does after an instruction.
enum class Step : uint8_t {
  kNext,
  kYield,  // it polls: others first, then the next instruction
  kRetry,  // others first, then this instruction again
  kWait,   // it has set what it waits for (Warp::waits)
  kExit,   // its active lanes have ended
};
using Handler = Step (*)(Warp&, const Instruction&);

// Which lanes must be together (PTX ISA: ".aligned", "membermask").
enum class Together : uint8_t {
  kAny,
  kAll,      // those that have not ended
  kWarp,     // all 32
  kMembers,  // those of a mask
};
enum class Jump : uint8_t { kNone, kBranch, kTable };

// A register: where its 32 lanes begin in a warp's register file, in bytes. Lanes are adjacent; a predicate is one
// uint32_t with a bit for each lane. While an entry is decoded it is the register's number (registers.h). 0: unused.
using Register = uint32_t;

struct Instruction {
  Handler run = nullptr;
  Register guard = 0;  // "@p": lanes in which it is false skip the instruction
  uint32_t guard_flip = 0;
  Together together = Together::kAny;
  Jump jump = Jump::kNone;
  uint8_t flags = 0;                     // of the handler, as are n and the operands
  bool narrow = false, narrow2 = false;  // whether the registers of addresses have 4 bytes, not 8
  uint32_t n = 0;
  Register d = 0, d2 = 0, a = 0, b = 0, c = 0, e = 0, members = 0;
  std::vector<Register> list;       // vectors and fragments
  int64_t offset = 0, offset2 = 0;  // displacements of addresses, or an immediate
  uint32_t target = 0;              // of a branch: an instruction, or a table
  std::vector<Register> reads, writes;
  uint32_t opcode = 0, file = 0, line = 0;
  mutable uint64_t runs = 0;  // warps that came here
};

struct Dim {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t{x} * y * z; }
};

// A variable or parameter; `at`: its offset in shared, local or parameter memory, or its address.
struct Symbol {
  enum Kind { kShared, kDynamicShared, kLocal, kParam, kGlobal } kind;
  uint64_t at, bytes;
  uint32_t align;
};

// A register whose value is known when a warp starts.
struct Preset {
  enum Kind { kConstant, kSpecial, kParam, kLocal, kDynamicShared } kind;
  Register where;
  int bytes;       // 0: a predicate
  uint64_t value;  // of a special register: its number; of an address: the offset
};

struct Parameter {
  uint32_t offset, bytes;
};

struct Entry {
  std::string name;
  // from the declaration
  std::vector<Parameter> parameters;
  std::unordered_map<std::string, Symbol> parameter_symbols;
  uint32_t max_threads = 0, parameter_bytes = 0;
  Dim cluster{0, 0, 0};
  size_t body_begin = 0, body_end = 0;
  // from the body, once it is decoded
  bool decoded = false;
  std::vector<Instruction> code;
  std::vector<std::vector<uint32_t>> tables;  // of brx.idx
  std::vector<Preset> presets;
  uint32_t preset_bytes = 0, register_bytes = 0;  // of a warp's register file; presets come first
  uint32_t local_bytes = 0, shared_bytes = 0, dynamic_align = 16;
  bool uses_dynamic = false;

  // Where dynamic shared memory begins; ptxas counts static memory up to there.
  uint32_t dynamic_begin() const { return (shared_bytes + dynamic_align - 1) / dynamic_align * dynamic_align; }
  uint32_t static_shared() const { return uses_dynamic ? dynamic_begin() : shared_bytes; }
};

struct Module {
  std::string text;
  std::map<std::string, Entry> entries;
  std::unordered_map<std::string, Symbol> symbols;
  std::vector<std::unique_ptr<uint8_t[]>> storage;  // of global variables
  std::map<uint32_t, std::string> files;            // of .loc
  std::vector<std::string> opcodes;                 // texts, for messages

  explicit Module(std::string ptx);
  // The entry of that name, decoded. Throws Error.
  Entry& entry(const std::string& name);
};

}  // namespace hgfast::ptx
