#include "engine/model/module_patterns.h"

namespace foregate {
namespace {

constexpr std::string_view kExpression = "re:";

bool names_module(std::string_view entry, std::string_view module) {
  if (entry == module) return true;
  if (entry.empty() || entry.size() >= module.size()) return false;
  if (module.starts_with(entry) && (entry.back() == '.' || module[entry.size()] == '.')) return true;
  return module.ends_with(entry) && (entry.front() == '.' || module[module.size() - entry.size() - 1] == '.');
}

}  // namespace

Result<ModulePatterns> ModulePatterns::compile(const std::vector<std::string>& entries, const std::string& key) {
  ModulePatterns patterns;
  patterns.key_ = key;
  for (const std::string& entry : entries) {
    if (!entry.starts_with(kExpression)) {
      patterns.names_.push_back(entry);
      continue;
    }
    ASSIGN_OR_RETURN(tok::Regex regex, tok::Regex::compile("\\A(?:" + entry.substr(kExpression.size()) + ")", key));
    patterns.expressions_.push_back(std::move(regex));
  }
  return patterns;
}

Result<bool> ModulePatterns::match(std::string_view module) const {
  for (const std::string& name : names_) {
    if (names_module(name, module)) return true;
  }
  for (const tok::Regex& expression : expressions_) {
    tok::RegexScan scan(expression);
    scan.start(module);
    std::size_t begin = 0;
    std::size_t end = 0;
    if (scan.next(&begin, &end)) return true;
    if (!scan.status().ok()) {
      return data_loss(key_ + ": an expression takes too many steps on \"" + std::string(module) + "\"", key_);
    }
  }
  return false;
}

}  // namespace foregate
