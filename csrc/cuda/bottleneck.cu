#include "cuda/bottleneck.cuh"

namespace hgfast::cuda {

void bottleneck(const Bottleneck& a, Exec stream) { launch_bottleneck(a, stream); }

void bottleneck_query(const BottleneckQuery& query, Exec) { answer_bottleneck_query(query); }

}  // namespace hgfast::cuda
