#include "engine/runtime/expert_memory.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <utility>

namespace foregate {
namespace {

Status bad_word(std::string_view word, const std::string& words, const std::string& field) {
  return invalid_argument(
      "\"" + std::string(word) + "\" is not " + words + ", a share (40%) or a size (4GiB, 512M, 3.5GB)", field);
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

// A share of `whole`, or a size.
Result<std::uint64_t> bytes_named(std::string_view word, std::uint64_t whole, const std::string& words,
                                  const std::string& field) {
  double value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || !std::isfinite(value) || value <= 0) return bad_word(word, words, field);
  const std::string_view unit = word.substr(static_cast<std::size_t>(end - word.data()));
  if (unit == "%") {
    if (value > 100) return invalid_argument("a share cannot be more than 100%", field);
    return static_cast<std::uint64_t>(static_cast<double>(whole) * value / 100);
  }
  const auto factor = unit_factor(unit);
  if (!factor || value * *factor >= 0x1p62) return bad_word(word, words, field);
  return static_cast<std::uint64_t>(value * *factor);
}

}  // namespace

std::int32_t cache_sequences(const ExpertMemoryFacts& facts, const CacheFacts& cache) {
  const auto most = static_cast<std::uint64_t>(std::max(cache.max_num_seqs, 1));
  const std::uint64_t taken = facts.other_bytes + facts.scratch_bytes + kExpertMemoryReserve;
  if (facts.available_bytes == 0 || cache.sequence_bytes == 0) return static_cast<std::int32_t>(most);
  if (facts.available_bytes <= taken) return 1;
  const std::uint64_t shared = facts.available_bytes - taken;
  const std::uint64_t beside = shared - std::min(shared, facts.expert_bytes);  // all experts
  const std::uint64_t cycles = cache.cycle_bytes + cache.cycle_bytes / 2;
  const std::uint64_t spared = shared - std::min(shared, cycles);
  const std::uint64_t bytes = std::max(beside, std::min(shared / 4, spared));
  return static_cast<std::int32_t>(std::clamp<std::uint64_t>(bytes / cache.sequence_bytes, 1, most));
}

Result<std::optional<std::uint64_t>> choose_expert_memory(std::string_view word, const ExpertMemoryFacts& facts) {
  if (word == "all") return std::optional<std::uint64_t>();
  if (word == "auto") return automatic(facts);
  ASSIGN_OR_RETURN(const std::uint64_t bytes, bytes_named(word, facts.expert_bytes, "all, auto", "expert_memory"));
  return std::optional(bytes);
}

Result<std::optional<std::uint64_t>> choose_dense_memory(std::string_view word, std::uint64_t layer_bytes) {
  if (word == "all") return std::optional<std::uint64_t>();
  ASSIGN_OR_RETURN(const std::uint64_t bytes, bytes_named(word, layer_bytes, "all", "dense_memory"));
  return std::optional(bytes);
}

}  // namespace foregate
