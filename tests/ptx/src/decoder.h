// Turns the statements of a kernel into instructions. Each family of instructions (families.h) says what its operands
// are and returns what executes it; this is what they ask for operands.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "program.h"
#include "registers.h"
#include "text.h"

namespace hgfast::ptx {

void decode(Module& module, Entry& entry);

// "[base + displacement]".
struct Address {
  Register base;
  bool narrow;  // base has 4 bytes, not 8
  int64_t displacement;
};

struct Statement {
  Text text;
  int scope;
  uint32_t file, line;
};

class Decoder {
 public:
  Decoder(Module& module, Entry& entry) : module_(module), entry_(entry) {}
  void run();

  // The statement in hand.
  Opcode opcode;
  std::vector<Text> operands;
  Instruction* now = nullptr;

  bool has(const char* modifier) const { return opcode.has(modifier); }
  // The first type's name and bytes; b32 where there is none.
  Text type() const { return opcode.types.empty() ? "b32" : opcode.types[0]; }
  int bytes() const { return type_bytes(type()); }
  const Text& operand(size_t index) const;

  // What an operand reads or writes: a register of exactly `bytes` bytes (0: a predicate), a constant, a special
  // register or an address. Throws Error.
  Register source(const Text& text, int bytes);
  Register source(size_t index, int bytes) { return source(operand(index), bytes); }
  Register destination(const Text& text, int bytes);
  Register destination(size_t index, int bytes) { return destination(operand(index), bytes); }
  // Registers that may be wider than the instruction's type (ld, st, cvt); `actual`: their bytes.
  Register wide_source(const Text& text, int bytes, int& actual);
  Register wide_destination(const Text& text, int bytes, int& actual);
  Register constant(int bytes, uint64_t value) { return registers_.preset(Preset::kConstant, bytes, value); }
  // "p" or "!p".
  Register predicate(const Text& text, bool& negated);
  // "d|p": the second is unused where it is not there.
  void destinations(const Text& text, int bytes, Register& first, Register& second);
  Address address(const Text& text);
  // Sets a, narrow and offset of the instruction.
  void set_address(size_t index);
  int64_t immediate(size_t index) const;
  // The lanes that must come together.
  void members(size_t index);
  // That none of the kernel's other registers shares this one's place.
  void pin(Register r) { registers_.pin(r); }
  void branch_to(const Text& label);
  void branch_through(const Text& table);
  // A dynamic special register such as %clock64 is not a source.
  [[noreturn]] void refuse(const std::string& why) const;

 private:
  void read_statements();
  void declare(const Text& text, int scope);
  void declare_registers(const Text& list, int scope);
  void decode_statement(const Statement& statement);
  Register find(const Text& name, int scope);
  bool symbol_address(const Text& text, int bytes, Register& out);
  const Symbol* find_symbol(const Text& name);
  Register note_read(Register r);
  Register note_write(Register r);
  uint32_t find_label(const Text& name) const;

  Module& module_;
  Entry& entry_;
  Registers registers_;
  std::vector<Scope> scopes_;
  std::vector<Statement> statements_;
  std::unordered_map<Text, Symbol> symbols_;
  std::unordered_map<Text, std::vector<Text>> branch_tables_;
  std::unordered_map<Text, uint32_t> opcode_numbers_;
  const Statement* statement_ = nullptr;
};

}  // namespace hgfast::ptx
