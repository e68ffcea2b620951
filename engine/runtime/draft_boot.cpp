#include "engine/runtime/draft_boot.h"

#include <memory>

#include "engine/base/log.h"
#include "engine/spec/ngram_drafter.h"
#include "engine/spec/spec_config.h"

namespace foregate {

Status choose_drafter(const BootOptions& options, SpeculationParts& parts, std::string& said) {
  said = "off";
  ASSIGN_OR_RETURN(const SpecConfig config, parse_spec_config(options.speculative_config));
  if (config.method == SpecMethod::kOff) return {};
  parts.num_speculative_tokens = config.num_speculative_tokens;
  parts.drafter = std::make_unique<NgramDrafter>(config.prompt_lookup_min, config.prompt_lookup_max);
  said = std::string(spec_method_name(config.method)) + ", at most " + std::to_string(config.num_speculative_tokens) +
         " tokens";
  log_info("speculation: " + said);
  return {};
}

}  // namespace foregate
