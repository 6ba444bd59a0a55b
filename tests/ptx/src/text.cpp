#include "text.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <map>

#include "error.h"

namespace hgfast::ptx {

namespace {

bool is_blank(char c) { return std::isspace(static_cast<unsigned char>(c)); }
bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)); }

// "0f" and eight digits are the bits of a float, "0d" and sixteen those of a double.
std::optional<uint64_t> float_literal(const Text& text, int bytes) {
  const bool narrow = text.size() == 10 && text[0] == '0' && std::tolower(text[1]) == 'f';
  const bool wide = text.size() == 18 && text[0] == '0' && std::tolower(text[1]) == 'd';
  if (!narrow && !wide) return {};
  uint64_t bits = std::stoull(text.substr(2), nullptr, 16);
  float single;
  double exact;
  if (narrow && bytes == 8) {
    std::memcpy(&single, &bits, 4);
    exact = single;
    std::memcpy(&bits, &exact, 8);
  } else if (wide && bytes == 4) {
    std::memcpy(&exact, &bits, 8);
    single = static_cast<float>(exact);
    bits = 0;
    std::memcpy(&bits, &single, 4);
  }
  return bits;
}

}  // namespace

Text trim(const Text& text) {
  const size_t begin = text.find_first_not_of(" \t\r\n"), end = text.find_last_not_of(" \t\r\n");
  return begin == Text::npos ? "" : text.substr(begin, end - begin + 1);
}

std::vector<Text> words(const Text& text) {
  std::vector<Text> out;
  bool inside = false;
  for (char c : text) {
    if (!is_blank(c)) {
      if (!inside) out.emplace_back();
      out.back() += c;
    }
    inside = !is_blank(c);
  }
  return out;
}

std::vector<Text> split(const Text& text, char separator) {
  std::vector<Text> out;
  int depth = 0;
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (std::strchr("[{(", text[i])) ++depth;
    if (std::strchr("]})", text[i])) --depth;
    if (text[i] != separator || depth) continue;
    out.push_back(trim(text.substr(begin, i - begin)));
    begin = i + 1;
  }
  const Text last = trim(text.substr(begin));
  if (!last.empty() || !out.empty()) out.push_back(last);
  return out;
}

std::vector<Text> vector_elements(const Text& text) {
  if (text.empty() || text[0] != '{') return {text};
  return split(text.substr(1, text.size() - 2));
}

size_t skip_blanks(const Text& text, size_t at) {
  while (at < text.size()) {
    if (is_blank(text[at]))
      ++at;
    else if (text.compare(at, 2, "//") == 0)
      at = std::min(text.find('\n', at), text.size());
    else if (text.compare(at, 2, "/*") == 0)
      at = std::min(text.find("*/", at), text.size() - 2) + 2;
    else
      break;
  }
  return at;
}

size_t closing_brace(const Text& text, size_t at) {
  bool quoted = false;
  for (int depth = 1; at < text.size(); ++at) {
    if (text[at] == '"') quoted = !quoted;
    if (quoted) continue;
    if (text.compare(at, 2, "//") == 0) at = std::min(text.find('\n', at), text.size() - 1);
    if (text[at] == '{') ++depth;
    if (text[at] == '}' && --depth == 0) break;
  }
  return at;
}

bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) || std::strchr("_$%.", c); }

int type_bytes(const Text& type) {
  static const std::map<Text, int> known = {
      {"pred", 0}, {"b8", 1},     {"u8", 1},  {"s8", 1},  {"b16", 2}, {"u16", 2}, {"s16", 2},
      {"f16", 2},  {"bf16", 2},   {"b32", 4}, {"u32", 4}, {"s32", 4}, {"f32", 4}, {"f16x2", 4},
      {"tf32", 4}, {"bf16x2", 4}, {"b64", 8}, {"u64", 8}, {"s64", 8}, {"f64", 8}, {"b128", 16}};
  const auto found = known.find(type);
  return found == known.end() ? -1 : found->second;
}
bool is_float(const Text& type) { return type[0] == 'f' || type[0] == 't' || type.compare(0, 2, "bf") == 0; }
bool is_signed(const Text& type) { return type[0] == 's'; }

std::optional<uint64_t> literal(const Text& text, int bytes) {
  if (auto bits = float_literal(text, bytes)) return bits;
  const bool negative = !text.empty() && text[0] == '-';
  if (text.size() <= negative || !is_digit(text[negative])) return {};
  const uint64_t magnitude = std::stoull(text.substr(negative), nullptr, 0);  // a trailing U is not read
  return negative ? -magnitude : magnitude;
}

Opcode::Opcode(const Text& opcode) : text(opcode) {
  for (const Text& part : split(opcode, '.')) {
    if (name.empty())
      name = part;
    else
      (type_bytes(part) < 0 ? modifiers : types).push_back(part);
  }
}

bool Opcode::has(const char* modifier) const {
  return std::find(modifiers.begin(), modifiers.end(), modifier) != modifiers.end();
}

Text Opcode::one_of(const char* candidates) const {
  for (const Text& word : words(candidates))
    if (has(word.c_str())) return word;
  return "";
}

Declaration::Declaration(const Text& text) {
  std::vector<Text> parts = words(text);
  Text declared;  // name and dimensions, which blanks may part
  bool is_pointer = false;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Text& word = parts[i];
    if (word == ".align") {
      const auto value = static_cast<uint32_t>(std::stoul(parts.at(++i)));
      if (!is_pointer) align = value;  // after .ptr it is that of what the pointer points to
    } else if (word == ".ptr") {
      is_pointer = true;
    } else if (word == ".extern") {
      is_extern = true;
    } else if (word == ".shared" || word == ".local" || word == ".global" || word == ".const" || word == ".param") {
      if (space.empty()) space = word.substr(1);  // ".param .u64 .ptr .global": the first is the variable's own
    } else if (word[0] == '.') {
      element = std::max(element, static_cast<uint32_t>(std::max(1, type_bytes(word.substr(1)))));
    } else {
      declared += word;
    }
  }
  const size_t bracket = declared.find('[');
  name = declared.substr(0, bracket);
  for (size_t at = bracket; at != Text::npos; at = declared.find('[', at + 1))
    count *= declared[at + 1] == ']' ? 0 : std::stoull(declared.substr(at + 1));
  align = std::max(align, element);
}

}  // namespace hgfast::ptx
