// The body of a kernel as statements: labels, scopes and declarations go into the decoder's tables (PTX ISA, "Syntax").
#include <algorithm>
#include <cstdio>

#include "decoder.h"
#include "error.h"

namespace hgfast::ptx {

namespace {

// Where a statement ends: at the semicolon outside quotes.
size_t statement_end(const Text& text, size_t at) {
  for (bool quoted = false; at < text.size(); ++at) {
    if (text[at] == '"') quoted = !quoted;
    if (text[at] == ';' && !quoted) break;
  }
  return at;
}

Text without_comments(Text text) {
  for (size_t at; (at = text.find("//")) != Text::npos;)
    text.erase(at, std::min(text.find('\n', at), text.size()) - at);
  return trim(text);
}

// The label that begins at `at`, and where it ends; empty if there is none.
Text label_at(const Text& text, size_t at, size_t& end) {
  size_t name_end = at;
  while (is_name(text[name_end])) ++name_end;
  end = text.find_first_not_of(" \t", name_end);
  const bool is_label = name_end > at && end != Text::npos && text[end] == ':' && text[end + 1] != ':';
  return is_label ? text.substr(at, name_end - at) : "";
}

}  // namespace

void Decoder::read_statements() {
  const Text& text = module_.text;
  scopes_.push_back({});
  int scope = 0;
  uint32_t file = 0, line = 0;
  Text label;
  size_t at = skip_blanks(text, entry_.body_begin), end = 0;
  for (; at < entry_.body_end; at = skip_blanks(text, at)) {
    if (text[at] == '{') {
      scopes_.push_back({scope, {}, {}, {}});
      scope = static_cast<int>(scopes_.size()) - 1;
      ++at;
    } else if (text[at] == '}') {
      scope = scopes_[static_cast<size_t>(scope)].parent;
      ++at;
    } else if (text[at] == ';') {
      ++at;
    } else if (text.compare(at, 5, ".loc\t") == 0 || text.compare(at, 5, ".loc ") == 0) {
      unsigned f = 0, l = 0;
      std::sscanf(text.c_str() + at, ".loc %u %u", &f, &l);
      if (l) file = f, line = l;
      at = text.find('\n', at);
    } else if (const Text name = label_at(text, at, end); !name.empty()) {
      scopes_[static_cast<size_t>(scope)].labels[label = name] = static_cast<uint32_t>(statements_.size());
      at = end + 1;
    } else {
      end = statement_end(text, at);
      const Text statement = without_comments(text.substr(at, end - at));
      at = end + 1;
      if (statement.compare(0, 14, ".branchtargets") == 0)
        branch_tables_[label] = split(statement.substr(14));
      else if (statement[0] == '.')
        declare(statement, scope);
      else
        statements_.push_back({statement, scope, file, line});
    }
  }
}

void Decoder::declare(const Text& text, int scope) {
  if (text.compare(0, 4, ".reg") == 0) return declare_registers(trim(text.substr(4)), scope);
  if (text.compare(0, 7, ".pragma") == 0) return;
  const Declaration v(text);
  if (v.space != "shared" && v.space != "local") throw Error("PTX: directive " + text + " in " + entry_.name);
  const bool shared = v.space == "shared";
  uint32_t& total = shared ? entry_.shared_bytes : entry_.local_bytes;
  total = (total + v.align - 1) / v.align * v.align;
  symbols_[v.name] = {shared ? Symbol::kShared : Symbol::kLocal, total, v.bytes(), v.align};
  total += static_cast<uint32_t>(v.bytes());
}

// ".b32 %r<9>" or ".pred p, q".
void Decoder::declare_registers(const Text& list, int scope) {
  const size_t type_end = list.find_first_of(" \t\n");
  const int bytes = type_bytes(list.substr(1, type_end - 1));
  if (bytes < 0) throw Error("PTX: registers of " + list.substr(0, type_end) + " in " + entry_.name);
  Scope& here = scopes_[static_cast<size_t>(scope)];
  for (const Text& item : split(list.substr(type_end))) {
    const size_t count = item.find('<');
    if (count == Text::npos)
      here.names[item] = registers_.add(bytes);
    else
      here.ranges[trim(item.substr(0, count))] = {bytes, std::stoi(item.substr(count + 1))};
  }
}

}  // namespace hgfast::ptx
