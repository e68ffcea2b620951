#include "engine/runtime/machine_name.h"

#include <unistd.h>

#include <fstream>
#include <sstream>

namespace foregate {

std::string processor_name(std::string_view cpuinfo) {
  constexpr std::size_t kMost = 200;
  constexpr std::string_view kKey = "model name";
  const std::size_t line = cpuinfo.starts_with(kKey) ? 0 : cpuinfo.find("\nmodel name");
  if (line == std::string_view::npos) return "unknown processor";
  const std::string_view rest = cpuinfo.substr(line + 1);
  std::string_view text = rest.substr(0, rest.find('\n'));
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return "unknown processor";
  text.remove_prefix(colon + 1);
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  return text.empty() ? "unknown processor" : std::string(text.substr(0, kMost));
}

std::string machine_name(std::string_view isa, int threads) {
  std::ostringstream cpuinfo;
  cpuinfo << std::ifstream("/proc/cpuinfo").rdbuf();
  return processor_name(cpuinfo.str()) + ", " + std::to_string(::sysconf(_SC_NPROCESSORS_ONLN)) + " cores, " +
         std::string(isa) + ", " + std::to_string(threads) + (threads == 1 ? " thread" : " threads");
}

}  // namespace foregate
