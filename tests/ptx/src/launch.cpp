// A launch: as many blocks at a time as need each other, warps in turns, and what is wrong when nothing goes on.
#include <algorithm>
#include <random>

#include "schedule.h"

namespace hgfast::ptx {

namespace {

constexpr uint64_t kTurn = 200'000, kShortestTurn = 200, kLongestTurn = 5'000;
constexpr uint64_t kPolling = 100;  // instructions of a turn that does nothing but poll, at most
constexpr size_t kLongestReport = 4'000;

class Scheduler {
 public:
  explicit Scheduler(Launch& launch) : launch_(launch), random_(options.order) {
    order_.resize(launch.grid.count() / launch.cluster.count());
    for (size_t i = 0; i < order_.size(); ++i) order_[i] = i;
    arrange(order_);
  }

  void run() {
    size_t next = 0;
    for (int idle = 0; next < order_.size() || !resident_.empty();) {
      while (resident_.size() < at_a_time_ && next < order_.size())
        resident_.push_back(start_cluster(launch_, order_[next++]));
      progress_ = polls_ = false;
      for (auto& cluster : resident_) round(*cluster);
      const bool ended = remove_ended();
      if (polls_ && next < order_.size()) ++at_a_time_;  // they may wait for blocks that have not started
      idle = progress_ || ended ? 0 : idle + 1;
      if (!progress_ && !ended && (!polls_ || idle > options.patience)) report_deadlock();
      if (launch_.instructions > options.instruction_limit)
        throw Error("kernel " + launch_.entry.name + ": it has no end after " + std::to_string(launch_.instructions) +
                    " instructions");
    }
  }

 private:
  template <class T>
  void arrange(std::vector<T>& list) {
    if (options.order == 1) std::reverse(list.begin(), list.end());
    if (options.order > 1) std::shuffle(list.begin(), list.end(), random_);
  }

  // A turn for each warp that does not wait.
  void round(Cluster& cluster) {
    warps_.clear();
    for (const auto& block : cluster.blocks)
      for (const auto& warp : block->warps)
        if (!warp->ended()) warps_.push_back(warp.get());
    arrange(warps_);
    for (Warp* warp : warps_) {
      if (warp->waits && !warp->waits()) continue;
      warp->waits = nullptr;
      const uint64_t turn = options.order > 1 ? kShortestTurn + random_() % (kLongestTurn - kShortestTurn) : kTurn;
      const uint64_t before = launch_.instructions;
      const Turn end = run_warp(*warp, turn);
      polls_ |= end == Turn::kPolls || end == Turn::kUsedUp;  // it may poll by plain loads
      progress_ |= end != Turn::kPolls || launch_.instructions - before > kPolling;
    }
  }

  bool remove_ended() {
    const size_t before = resident_.size();
    for (auto& cluster : resident_) {
      if (!cluster->ended()) continue;
      end_cluster(*cluster);
      cluster.reset();
    }
    resident_.erase(std::remove(resident_.begin(), resident_.end(), nullptr), resident_.end());
    return resident_.size() < before;
  }

  [[noreturn]] void report_deadlock() {
    std::string text = "deadlock in kernel " + launch_.entry.name + ":";
    for (const auto& cluster : resident_)
      for (const auto& block : cluster->blocks)
        for (const auto& warp : block->warps) {
          if (warp->ended() || text.size() > kLongestReport) continue;
          if (!warp->groups.empty()) warp->pc = warp->groups[0].pc;
          text += "\n  " + place(*warp) + ": " + (warp->waits_for.empty() ? "polls" : warp->waits_for);
        }
    throw Error(text);
  }

  Launch& launch_;
  std::mt19937 random_;
  std::vector<uint64_t> order_;
  std::vector<std::unique_ptr<Cluster>> resident_;
  std::vector<Warp*> warps_;
  size_t at_a_time_ = 1;
  bool progress_ = false, polls_ = false;
};

void check_shape(const Entry& entry, const Dim& grid, const Dim& block, const Dim& cluster) {
  if (grid.count() == 0 || block.count() == 0 || block.count() > 1024 || grid.y > 65535 || grid.z > 65535)
    throw Error("kernel " + entry.name + ": a grid or block that no device takes");
  if (grid.x % cluster.x || grid.y % cluster.y || grid.z % cluster.z)
    throw Error("kernel " + entry.name + ": the grid is no multiple of the cluster");
  if (entry.max_threads && block.count() > entry.max_threads)
    throw Error("kernel " + entry.name + ": more threads than its launch bounds");
}

}  // namespace

void run_launch(Module& module, const std::string& name, Dim grid, Dim block, Dim cluster, uint32_t dynamic_shared,
                void* const* arguments) {
  Entry& entry = module.entry(name);
  check_shape(entry, grid, block, cluster);
  constexpr size_t kAlign = 128;  // tensor maps are parameters
  std::vector<uint8_t> storage(entry.parameter_bytes + kAlign);
  const auto raw = reinterpret_cast<uintptr_t>(storage.data());
  auto* const parameters = reinterpret_cast<uint8_t*>((raw + kAlign - 1) / kAlign * kAlign);
  for (size_t i = 0; i < entry.parameters.size(); ++i)
    std::memcpy(parameters + entry.parameters[i].offset, arguments[i], entry.parameters[i].bytes);
  ++stats.launches;
  Launch launch{module, entry, grid, block, cluster, dynamic_shared, parameters};
  Scheduler(launch).run();
}

}  // namespace hgfast::ptx
