// What stands at the top of a PTX file: variables and entries (PTX ISA, "PTX Module Directives", "Kernel Entry
// Points").
#include <cstdio>
#include <cstring>

#include "decoder.h"
#include "error.h"
#include "program.h"
#include "regions.h"
#include "text.h"

namespace hgfast::ptx {

namespace {

// The three numbers behind a directive, as in ".maxntid 128, 1, 1"; false where it is not there.
bool read_dim(const Text& text, const char* directive, Dim& dim) {
  const size_t at = text.find(directive);
  return at != Text::npos &&
         std::sscanf(text.c_str() + at + std::strlen(directive), " %u, %u, %u", &dim.x, &dim.y, &dim.z) >= 1;
}

void add_parameters(Entry& entry, const Text& list) {
  for (const Text& item : split(list)) {
    if (item.empty()) continue;
    const Declaration p(item);
    const uint32_t offset = (entry.parameter_bytes + p.align - 1) / p.align * p.align;
    entry.parameter_symbols[p.name] = {Symbol::kParam, offset, p.bytes(), p.align};
    entry.parameters.push_back({offset, static_cast<uint32_t>(p.bytes())});
    entry.parameter_bytes = offset + static_cast<uint32_t>(p.bytes());
  }
}

class Scanner {
 public:
  explicit Scanner(Module& module) : module_(module), text_(module.text) {}

  void run() {
    for (at_ = skip_blanks(text_, 0); at_ < text_.size(); at_ = skip_blanks(text_, at_)) {
      const size_t line_end = std::min(text_.find('\n', at_), text_.size());
      const Text line = text_.substr(at_, line_end - at_);
      auto starts = [&](const char* word) { return line.compare(0, std::strlen(word), word) == 0; };
      if (starts(".version") || starts(".target") || starts(".address_size") || starts(".file")) {
        if (starts(".file")) add_file(line);
        at_ = line_end;
      } else if (starts(".section")) {  // debug information
        at_ = closing_brace(text_, text_.find('{', at_) + 1) + 1;
      } else if (line.find(".entry") != Text::npos) {
        add_entry();
      } else if (line.find(".func") != Text::npos) {
        skip_function();
      } else {
        const size_t end = text_.find(';', at_);
        add_variable(trim(text_.substr(at_, end - at_)));
        at_ = std::min(end, text_.size() - 1) + 1;
      }
    }
  }

 private:
  void add_file(const Text& line) {
    unsigned id = 0;
    char name[1024] = "";
    if (std::sscanf(line.c_str(), ".file %u \"%1023[^\"]", &id, name) == 2) module_.files[id] = name;
  }

  // Functions that are not inlined cannot be called here: decoding a `call` says so.
  void skip_function() {
    const size_t brace = text_.find("\n{", at_), end = text_.find(';', at_);
    at_ = end < brace ? end + 1 : closing_brace(text_, brace + 2) + 1;
  }

  void add_entry() {
    Entry entry;
    size_t name = skip_blanks(text_, text_.find(".entry", at_) + 6), end = name;
    while (is_name(text_[end])) ++end;
    entry.name = text_.substr(name, end - name);
    const size_t brace = text_.find("\n{", end), open = text_.find('(', end);
    size_t close = end;
    if (open < brace) {
      close = text_.find(')', open);
      add_parameters(entry, text_.substr(open + 1, close - open - 1));
    }
    const Text directives = text_.substr(close, brace - close);
    Dim threads;
    if (read_dim(directives, ".maxntid", threads) || read_dim(directives, ".reqntid", threads))
      entry.max_threads = static_cast<uint32_t>(threads.count());
    Dim cluster;
    if (read_dim(directives, ".reqnctapercluster", cluster)) entry.cluster = cluster;
    entry.body_begin = brace + 2;
    entry.body_end = closing_brace(text_, brace + 2);
    at_ = entry.body_end + 1;
    module_.entries.emplace(entry.name, std::move(entry));
  }

  void add_variable(const Text& text) {
    const size_t equals = text.find('=');
    const Declaration v(text.substr(0, equals));
    if (v.space == "shared") {  // static ones belong to the entries that name them
      const auto kind = v.is_extern ? Symbol::kDynamicShared : Symbol::kShared;
      module_.symbols[v.name] = {kind, 0, v.bytes(), v.align};
    } else if (v.space == "global" || v.space == "const") {
      uint8_t* memory = allocate(v);
      module_.symbols[v.name] = {Symbol::kGlobal, reinterpret_cast<uint64_t>(memory), v.bytes(), v.align};
      if (equals != Text::npos) initialise(v, trim(text.substr(equals + 1)), memory);
    }
  }

  uint8_t* allocate(const Declaration& v) {
    constexpr size_t kAlign = 256;
    module_.storage.emplace_back(new uint8_t[v.bytes() + kAlign]());
    const auto raw = reinterpret_cast<uintptr_t>(module_.storage.back().get());
    auto* memory = reinterpret_cast<uint8_t*>((raw + kAlign - 1) / kAlign * kAlign);
    regions().add(memory, v.bytes(), v.space != "const", "variable " + v.name, true);
    return memory;
  }

  void initialise(const Declaration& v, const Text& values, uint8_t* memory) {
    size_t index = 0;
    for (const Text& value : vector_elements(values)) {
      const auto bits = literal(value, static_cast<int>(v.element));
      if (!bits) throw Error("PTX: initial value " + value + " of " + v.name);
      std::memcpy(memory + v.element * index++, &*bits, v.element);
    }
  }

  Module& module_;
  const Text& text_;
  size_t at_ = 0;
};

}  // namespace

Module::Module(std::string ptx) : text(std::move(ptx)) {
  while (!text.empty() && text.back() == '\0') text.pop_back();
  text += '\n';
  Scanner(*this).run();
}

Entry& Module::entry(const std::string& name) {
  const auto found = entries.find(name);
  if (found == entries.end()) throw Error("PTX: no kernel " + name);
  if (!found->second.decoded) decode(*this, found->second);
  return found->second;
}

}  // namespace hgfast::ptx
