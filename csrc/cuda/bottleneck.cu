#include "cuda/bottleneck.cuh"

namespace hgfast::cuda {

void bottleneck(const Bottleneck& a, Exec stream) { launch_bottleneck(a, stream); }

void bottleneck_query(const BottleneckQuery& query, Exec) { answer_bottleneck_query(query); }

std::vector<Candidate> bottleneck_candidates(const BottleneckShape& shape, const Device& device) {
  return list_bottleneck_candidates(shape, device);
}

double three_convolutions_cycles(const BottleneckShape& shape, const Device& device) {
  return BottleneckCost(shape, device).three_convolutions();
}

}  // namespace hgfast::cuda
