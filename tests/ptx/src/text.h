// Pieces of PTX text (PTX ISA, "Syntax"): words, lists, opcodes and numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace hgfast::ptx {

using Text = std::string;

Text trim(const Text& text);
// Blank-separated words.
std::vector<Text> words(const Text& text);
// The parts between separators that stand outside all brackets, trimmed.
std::vector<Text> split(const Text& text, char separator = ',');
// "{a, b}" -> a, b; anything else is a list of one.
std::vector<Text> vector_elements(const Text& text);
// Position after the blanks and comments from `at` on.
size_t skip_blanks(const Text& text, size_t at);
// Position of the brace that closes the one before `at`.
size_t closing_brace(const Text& text, size_t at);
// Whether c may be part of a name.
bool is_name(char c);

// Bytes of a fundamental type such as u32 or bf16x2; 0 for pred; -1 where the word is no type.
int type_bytes(const Text& type);
bool is_float(const Text& type);
bool is_signed(const Text& type);

// The bits of a literal read as a value of `bytes` bytes; nothing where the text is no number.
std::optional<uint64_t> literal(const Text& text, int bytes);

// "ld.global.v2.f32": the instruction, its types in order, and its other modifiers.
struct Opcode {
  Text text, name;
  std::vector<Text> types, modifiers;

  Opcode() = default;
  explicit Opcode(const Text& opcode);
  bool has(const char* modifier) const;
  // The first of the blank-separated words that is a modifier, or "".
  Text one_of(const char* candidates) const;
};

// "name[4][8]" with the declaration's words before it, as in ".shared .align 16 .b8 name[1024]".
struct Declaration {
  Text name, space;  // space: shared, local, global, const, param, or ""
  uint32_t align = 1, element = 1;
  uint64_t count = 1;
  bool is_extern = false;

  explicit Declaration(const Text& text);
  uint64_t bytes() const { return element * count; }
};

}  // namespace hgfast::ptx
