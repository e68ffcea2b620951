#include "engine/runtime/expert_memory.h"

#include <charconv>
#include <cmath>
#include <string>
#include <utility>

namespace foregate {
namespace {

Status bad_word(std::string_view word) {
  return invalid_argument("\"" + std::string(word) + "\" is not all, auto, a share (40%) or a size (4GiB, 512M, 3.5GB)",
                          "expert_memory");
}

// The factor of a unit; none for a word that is no unit.
std::optional<double> unit_factor(std::string_view unit) {
  constexpr std::pair<std::string_view, double> kUnits[] = {
      {"", 1.0},       {"K", 0x1p10},   {"M", 0x1p20}, {"G", 0x1p30}, {"T", 0x1p40}, {"KiB", 0x1p10}, {"MiB", 0x1p20},
      {"GiB", 0x1p30}, {"TiB", 0x1p40}, {"kB", 1e3},   {"KB", 1e3},   {"MB", 1e6},   {"GB", 1e9},     {"TB", 1e12}};
  for (const auto& [name, factor] : kUnits) {
    if (unit == name) return factor;
  }
  return std::nullopt;
}

Result<std::optional<std::uint64_t>> automatic(const ExpertMemoryFacts& facts) {
  if (facts.available_bytes == 0) return std::optional<std::uint64_t>();
  const std::uint64_t taken = facts.other_bytes + facts.kv_bytes + facts.scratch_bytes + kExpertMemoryReserve;
  if (facts.available_bytes >= taken + facts.expert_bytes) return std::optional<std::uint64_t>();
  if (facts.available_bytes > taken) return std::optional(facts.available_bytes - taken);
  return resource_exhausted("of " + std::to_string(facts.available_bytes) + " bytes of memory, " +
                            std::to_string(facts.other_bytes) + " go to dense weights, " +
                            std::to_string(facts.kv_bytes) + " to the KV cache, " +
                            std::to_string(facts.scratch_bytes) + " to scratch and " +
                            std::to_string(kExpertMemoryReserve) + " to the program: none is left for experts");
}

}  // namespace

Result<std::optional<std::uint64_t>> choose_expert_memory(std::string_view word, const ExpertMemoryFacts& facts) {
  if (word == "all") return std::optional<std::uint64_t>();
  if (word == "auto") return automatic(facts);
  double value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || !std::isfinite(value) || value <= 0) return bad_word(word);
  const std::string_view unit = word.substr(static_cast<std::size_t>(end - word.data()));
  if (unit == "%") {
    if (value > 100) return invalid_argument("a share cannot be more than 100%", "expert_memory");
    return std::optional(static_cast<std::uint64_t>(static_cast<double>(facts.expert_bytes) * value / 100));
  }
  const auto factor = unit_factor(unit);
  if (!factor || value * *factor >= 0x1p62) return bad_word(word);
  return std::optional(static_cast<std::uint64_t>(value * *factor));
}

}  // namespace foregate
