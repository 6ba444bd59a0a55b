#include "errors.h"

#include <dlfcn.h>
#include <sys/time.h>
#include <ucontext.h>

#include <algorithm>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "emulator/runtime.h"
#include "engine.h"
#include "global_memory.h"

namespace hgfast::emu {

namespace {

constexpr int kSecondsPerLaunch = 300;  // a launch that takes longer is stuck in a loop
constexpr size_t kSignalStackBytes = 64 << 10;
constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGALRM};
struct sigaction g_previous[4];
stack_t g_previous_stack;
char g_signal_stack[kSignalStackBytes];

// addr2line's answer for an address of this module.
std::string addr2line(const void* address, const char* options) {
  Dl_info info;
  if (!address || !dladdr(address, &info) || !info.dli_fname) return "";
  const auto offset = static_cast<const char*>(address) - static_cast<const char*>(info.dli_fbase);
  char command[1024], line[2048];
  std::snprintf(command, sizeof command, "addr2line %s -e %s 0x%lx 2>/dev/null", options, info.dli_fname, offset);
  std::string text;
  if (FILE* pipe = popen(command, "r")) {
    while (std::fgets(line, sizeof line, pipe)) text += line;
    pclose(pipe);
  }
  return text;
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

void on_signal(int signal, siginfo_t* info, void* context) {
  if (!engine.lane) {  // not in a kernel: let the process have its signal
    std::signal(signal, SIG_DFL);
    raise(signal);
    return;
  }
  const auto pc = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP];
  const std::string at = source_line(reinterpret_cast<const char*>(pc) + 1);
  if (signal == SIGALRM) fail("the launch has run for %d s, now at %s", kSecondsPerLaunch, at.c_str());
  if (signal == SIGFPE) fail("division by zero at %s", at.c_str());
  if (engine.block->stacks.in_guard(info->si_addr)) fail("stack overflow at %s", at.c_str());
  fail("illegal access at %s: %s", at.c_str(), describe_address(info->si_addr).c_str());
}

}  // namespace

SignalGuard::SignalGuard() {
  stack_t stack{g_signal_stack, 0, kSignalStackBytes};
  sigaltstack(&stack, &g_previous_stack);
  struct sigaction action{};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (int i = 0; i < 4; ++i) sigaction(kSignals[i], &action, &g_previous[i]);
  const itimerval limit{{0, 0}, {kSecondsPerLaunch, 0}};
  setitimer(ITIMER_REAL, &limit, nullptr);
}

SignalGuard::~SignalGuard() {
  const itimerval none{};
  setitimer(ITIMER_REAL, &none, nullptr);
  for (int i = 0; i < 4; ++i) sigaction(kSignals[i], &g_previous[i], nullptr);
  sigaltstack(&g_previous_stack, nullptr);
}

std::string where(Site site) {
  return site.file ? base_name(site.file) + ":" + std::to_string(site.line) : std::string("?");
}

// The innermost source line that is the kernel's own, not a twin's.
std::string source_line(const void* return_address) {
  const std::string frames = addr2line(static_cast<const char*>(return_address) - 1, "-i");
  std::string best = "?";
  for (size_t begin = 0; begin < frames.size();) {
    const size_t end = std::min(frames.find('\n', begin), frames.size());
    std::string line = frames.substr(begin, end - begin);
    begin = end + 1;
    line.resize(std::min(line.find(" (disc"), line.size()));
    best = base_name(line);
    if (line.find("tests/emulator/include") == std::string::npos && line.find("/c++/") == std::string::npos) break;
  }
  return best;
}

std::string kernel_name(const void* kernel) {
  const std::string text = addr2line(kernel, "-Cf");
  const std::string name = text.substr(0, text.find('\n'));
  const size_t arguments = name.rfind('(');
  std::string bare = arguments == std::string::npos ? name : name.substr(0, arguments);
  if (bare.rfind("void ", 0) == 0) bare.erase(0, 5);
  return bare;
}

std::string describe_thread(const Block& block, int index) {
  const Lane& lane = block.lanes[index];
  char text[96];
  std::snprintf(text, sizeof text, "thread (%u,%u,%u) [warp %d lane %d]", lane.id.x, lane.id.y, lane.id.z, lane.warp,
                lane.lane);
  return text;
}

std::string describe_address(const void* address) {
  if (engine.block && engine.block->shared.contains(address))
    return engine.block->shared.describe(static_cast<uint32_t>(engine.block->shared.offset_of(address)));
  if (in_device_arena(address)) return describe_global(address);
  return address ? "a host address" : "a null pointer or a misaligned vector access";
}

void fail(const char* format, ...) {
  char text[2048];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  std::string message = "emulator: ";
  if (engine.launch.kernel) message += "kernel " + kernel_name(engine.launch.kernel) + ": ";
  if (!engine.lane) throw std::runtime_error(message + text);
  const Block& block = *engine.block;
  char at[64];
  std::snprintf(at, sizeof at, "block (%u,%u,%u) ", block.id.x, block.id.y, block.id.z);
  engine.error = message + at + describe_thread(block, engine.lane->index) + ": " + text;
  leave_lane();
}

}  // namespace hgfast::emu
