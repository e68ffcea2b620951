#include "server/batch/batch_summary.h"

#include <algorithm>
#include <cstdio>

namespace foregate {
namespace {

using Count = unsigned long long;

double real(std::uint64_t value) {
  return static_cast<double>(value);
}

std::string lines_text(const BatchCounts& counts, double seconds) {
  char text[400];
  std::snprintf(text, sizeof text,
                "%llu lines: %llu answered, of them %llu failed; %llu answered by an earlier run; %llu left out as "
                "duplicates\n%llu prompt and %llu completion tokens in %.1f s, %.1f tokens/s\n",
                static_cast<Count>(counts.lines), static_cast<Count>(counts.answered),
                static_cast<Count>(counts.faults), static_cast<Count>(counts.resumed),
                static_cast<Count>(counts.duplicates), static_cast<Count>(counts.prompt_tokens),
                static_cast<Count>(counts.completion_tokens), seconds,
                real(counts.prompt_tokens + counts.completion_tokens) / std::max(seconds, 1e-9));
  return text;
}

std::string steps_text(const EngineStats& before, const EngineStats& after) {
  const std::uint64_t steps = after.steps - before.steps, queries = after.prefix_queries - before.prefix_queries;
  if (steps == 0) return {};
  char text[240];
  std::snprintf(text, sizeof text,
                "%llu steps, %.1f completion tokens each; %.1f %% of the prompt tokens found in the prefix cache\n",
                static_cast<Count>(steps), real(after.generated_tokens - before.generated_tokens) / real(steps),
                queries == 0 ? 0.0 : 100 * real(after.prefix_hits - before.prefix_hits) / real(queries));
  return text;
}

std::string experts_text(const BatchCounts& counts, const ExpertFigures& before, const ExpertFigures& after) {
  const double bytes = real(after.loaded_bytes - before.loaded_bytes);
  const std::uint64_t tokens = counts.prompt_tokens + counts.completion_tokens;
  char text[320];
  std::snprintf(text, sizeof text,
                "experts: %.3f GB read, %.3f MB for each token and %.3f MB for each completion token; %.1f %% found in "
                "memory, %llu layers swept, %llu loads repeated within a step\n",
                bytes * 1e-9, bytes * 1e-6 / real(std::max<std::uint64_t>(tokens, 1)),
                bytes * 1e-6 / real(std::max<std::uint64_t>(counts.completion_tokens, 1)),
                100 * real(after.hits - before.hits) /
                    std::max(1.0, real(after.hits + after.misses - before.hits - before.misses)),
                static_cast<Count>(after.sweeps - before.sweeps),
                static_cast<Count>(after.repeated_loads - before.repeated_loads));
  return text;
}

}  // namespace

std::string batch_summary(const BatchCounts& counts, const EngineStats& before, const EngineStats& after,
                          double seconds) {
  std::string text = lines_text(counts, seconds) + steps_text(before, after);
  if (after.experts) text += experts_text(counts, before.experts.value_or(ExpertFigures{}), *after.experts);
  return text;
}

}  // namespace foregate
