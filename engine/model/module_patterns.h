// The modules that a quantization_config leaves alone (modules_to_not_convert, ignore): names, or regular expressions
// after "re:". Immutable, any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/text/tokenizer_regex.h"

namespace foregate {

class ModulePatterns {
 public:
  // An entry is a module ("lm_head"), one of its parents ("model.layers.0") or a whole last part of its name
  // ("mlp.gate"); after "re:" it is an expression that matches from the start of the name, with bounds on its steps.
  // `key` names the list in errors.
  static Result<ModulePatterns> compile(const std::vector<std::string>& entries, const std::string& key);

  // kDataLoss when an expression runs into a bound.
  Result<bool> match(std::string_view module) const;
  bool empty() const { return names_.empty() && expressions_.empty(); }

 private:
  std::string key_;
  std::vector<std::string> names_;
  std::vector<tok::Regex> expressions_;
};

}  // namespace foregate
