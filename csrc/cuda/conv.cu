#include "cuda/conv.cuh"

namespace hgfast::cuda {

void conv(const Conv& a, Exec stream) { launch_conv(a, stream); }

void conv_pack(const ConvPack& a, Exec stream) {
  check_conv_shape(a.shape);
  dispatch(a.shape.dtype, "conv_pack", [&](auto tag) { launch_conv_pack<typename decltype(tag)::type>(a, stream); });
}

void conv_query(const ConvQuery& query, Exec) { answer_conv_query(query); }

std::vector<Candidate> conv_candidates(const ConvShape& shape, const Device& device) {
  return list_conv_candidates(shape, device);
}

Device the_device() { return current_device(); }

}  // namespace hgfast::cuda
