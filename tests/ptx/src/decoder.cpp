#include "decoder.h"

#include <algorithm>
#include <cctype>

#include "error.h"
#include "families.h"
#include "machine.h"
#include "special_registers.h"

namespace hgfast::ptx {

void decode(Module& module, Entry& entry) { Decoder(module, entry).run(); }

void Decoder::run() {
  read_statements();
  entry_.code.resize(statements_.size() + 1);
  for (size_t i = 0; i < statements_.size(); ++i) {
    now = &entry_.code[i];
    decode_statement(statements_[i]);
  }
  entry_.code.back().run = families().at("exit")(*this);  // a kernel may end without one
  registers_.place(entry_);
  entry_.decoded = true;
}

void Decoder::decode_statement(const Statement& statement) {
  statement_ = &statement;
  Text text = statement.text;
  now->file = statement.file, now->line = statement.line;
  if (text[0] == '@') {
    const size_t end = text.find_first_of(" \t\n");
    bool negated = false;
    now->guard = predicate(text.substr(1, end - 1), negated);
    now->guard_flip = negated ? ~0u : 0;
    text = trim(text.substr(end));
  }
  const size_t end = std::min(text.find_first_of(" \t\n"), text.size());
  opcode = Opcode(text.substr(0, end));
  operands = split(text.substr(end));
  const auto [number, is_new] = opcode_numbers_.try_emplace(opcode.text, module_.opcodes.size());
  if (is_new) module_.opcodes.push_back(opcode.text);
  now->opcode = number->second;
  const auto family = families().find(opcode.name);
  now->run = family == families().end() ? nullptr : family->second(*this);
  if (!now->run) refuse("this instruction is not modelled");
}

void Decoder::refuse(const std::string& why) const {
  throw Error("PTX: " + why + ": '" + (statement_ ? statement_->text : "") + "' in kernel " + entry_.name);
}

const Text& Decoder::operand(size_t index) const {
  if (index >= operands.size()) refuse("an operand is missing");
  return operands[index];
}

Register Decoder::note_read(Register r) {
  now->reads.push_back(r);
  return r;
}
Register Decoder::note_write(Register r) {
  now->writes.push_back(r);
  return r;
}

Register Decoder::find(const Text& name, int scope) {
  for (; scope >= 0; scope = scopes_[static_cast<size_t>(scope)].parent) {
    Scope& here = scopes_[static_cast<size_t>(scope)];
    if (const auto found = here.names.find(name); found != here.names.end()) return found->second;
    size_t digits = name.size();
    while (digits > 0 && std::isdigit(static_cast<unsigned char>(name[digits - 1]))) --digits;
    const auto range = here.ranges.find(name.substr(0, digits));
    if (digits == name.size() || range == here.ranges.end()) continue;
    const auto [bytes, count] = range->second;
    if (std::stoi(name.substr(digits)) < count) return here.names[name] = registers_.add(bytes);
  }
  return 0;
}

const Symbol* Decoder::find_symbol(const Text& name) {
  if (const auto found = symbols_.find(name); found != symbols_.end()) return &found->second;
  const auto& parameters = entry_.parameter_symbols;
  if (const auto found = parameters.find(name); found != parameters.end()) return &found->second;
  const auto found = module_.symbols.find(name);
  if (found == module_.symbols.end()) return nullptr;
  if (found->second.kind != Symbol::kShared) return &found->second;
  // A shared variable of the module gets its place in each kernel that names it.
  Symbol placed = found->second;
  placed.at = (entry_.shared_bytes + placed.align - 1) / placed.align * placed.align;
  entry_.shared_bytes = static_cast<uint32_t>(placed.at + placed.bytes);
  return &(symbols_[name] = placed);
}

// "name" or "name + 8".
bool Decoder::symbol_address(const Text& text, int bytes, Register& out) {
  const size_t plus = text.find('+');
  const Symbol* symbol = find_symbol(trim(text.substr(0, plus)));
  if (!symbol) return false;
  const uint64_t at = symbol->at + (plus == Text::npos ? 0 : std::stoull(trim(text.substr(plus + 1)), nullptr, 0));
  switch (symbol->kind) {
    case Symbol::kShared:
    case Symbol::kGlobal:
      out = constant(bytes, at);
      break;
    case Symbol::kDynamicShared:
      entry_.dynamic_align = std::max(entry_.dynamic_align, symbol->align);
      entry_.uses_dynamic = true;
      out = registers_.preset(Preset::kDynamicShared, bytes, at);
      break;
    case Symbol::kLocal:
    case Symbol::kParam:
      if (bytes != 8) refuse("a 32-bit address of local or parameter memory");
      out = registers_.preset(symbol->kind == Symbol::kLocal ? Preset::kLocal : Preset::kParam, bytes, at);
  }
  return true;
}

Register Decoder::wide_source(const Text& text, int bytes, int& actual) {
  actual = bytes;
  Register r = find(text, statement_->scope);
  if (r) {
    actual = registers_.bytes(r);
    return note_read(r);
  }
  if (bytes == 0) {  // a predicate constant
    const auto value = text == "true" ? 1 : text == "false" ? 0 : literal(text, 4);
    if (value) return note_read(constant(0, *value ? ~0u : 0));
    refuse("unknown predicate " + text);
  }
  if (const auto value = literal(text, bytes)) return note_read(constant(bytes, *value));
  if (const int special = special_register(text); special >= 0)
    return note_read(registers_.preset(Preset::kSpecial, bytes, static_cast<uint64_t>(special)));
  if (text == "WARP_SZ") return note_read(constant(bytes, kLanes));
  if (symbol_address(text, bytes, r)) return note_read(r);
  refuse("unknown operand " + text);
}

Register Decoder::wide_destination(const Text& text, int bytes, int& actual) {
  actual = bytes;
  if (text == "_") return note_write(registers_.add(bytes));
  const Register r = find(text, statement_->scope);
  if (!r) refuse("unknown register " + text);
  actual = registers_.bytes(r);
  return note_write(r);
}

Register Decoder::source(const Text& text, int bytes) {
  int actual = 0;
  const Register r = wide_source(text, bytes, actual);
  if (actual != bytes) refuse("operand " + text + " has " + std::to_string(actual) + " bytes");
  return r;
}

Register Decoder::destination(const Text& text, int bytes) {
  int actual = 0;
  const Register r = wide_destination(text, bytes, actual);
  if (actual != bytes) refuse("operand " + text + " has " + std::to_string(actual) + " bytes");
  return r;
}

Register Decoder::predicate(const Text& text, bool& negated) {
  negated = text[0] == '!';
  return source(negated ? trim(text.substr(1)) : text, 0);
}

void Decoder::destinations(const Text& text, int bytes, Register& first, Register& second) {
  const auto parts = split(text, '|');
  first = destination(parts[0], bytes);
  second = destination(parts.size() > 1 ? parts[1] : "_", 0);
}

Address Decoder::address(const Text& text) {
  const Text inside = text[0] == '[' ? trim(text.substr(1, text.size() - 2)) : text;
  const size_t sign = inside.find_first_of("+-", 1);
  const Text base = trim(inside.substr(0, sign));
  int64_t displacement = 0;
  if (sign != Text::npos) {  // "[%rd1+-8]" too
    displacement = static_cast<int64_t>(*literal(trim(inside.substr(sign + 1)), 8));
    if (inside[sign] == '-') displacement = -displacement;
  }
  int bytes = 8;
  const Register r = wide_source(base, 8, bytes);
  if (bytes != 4 && bytes != 8) refuse("address " + text);
  return {r, bytes == 4, displacement};
}

void Decoder::set_address(size_t index) {
  const Address at = address(operand(index));
  now->a = at.base, now->offset = at.displacement, now->narrow = at.narrow;
}

int64_t Decoder::immediate(size_t index) const {
  const auto value = literal(operand(index), 8);
  if (!value) refuse("operand " + operand(index) + " is no constant");
  return static_cast<int64_t>(*value);
}

void Decoder::members(size_t index) {
  now->together = Together::kMembers;
  now->members = source(index, 4);
}

uint32_t Decoder::find_label(const Text& name) const {
  for (int s = statement_->scope; s >= 0; s = scopes_[static_cast<size_t>(s)].parent) {
    const auto& labels = scopes_[static_cast<size_t>(s)].labels;
    if (const auto found = labels.find(name); found != labels.end()) return found->second;
  }
  refuse("unknown label " + name);
}

void Decoder::branch_to(const Text& label) {
  now->jump = Jump::kBranch;
  now->target = find_label(label);
}

void Decoder::branch_through(const Text& table) {
  const auto found = branch_tables_.find(table);
  if (found == branch_tables_.end()) refuse("no branch table");
  now->jump = Jump::kTable;
  now->target = static_cast<uint32_t>(entry_.tables.size());
  entry_.tables.emplace_back();
  for (const Text& label : found->second) entry_.tables.back().push_back(find_label(label));
}

}  // namespace hgfast::ptx
