// What measured costs depend on beside the weights, in words: the key under which they are kept.
#pragma once

#include <string>
#include <string_view>

namespace foregate {

// The processor of the text of /proc/cpuinfo: its "model name"; "unknown processor" when it has none. Pure.
std::string processor_name(std::string_view cpuinfo);
// "Intel(R) Xeon(R) ..., 2 cores, avx512, 2 threads" of this machine and these kernels.
std::string machine_name(std::string_view isa, int threads);

}  // namespace foregate
