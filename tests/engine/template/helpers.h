// Shared by the template tests: compile and render in one call.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "engine/text/chat_template.h"

namespace foregate {

inline Result<RenderedChat> render_source(std::string_view source,
                                          const nlohmann::ordered_json& variables = nlohmann::ordered_json::object(),
                                          const TemplateBudget& budget = {}) {
  auto compiled = compile_chat_template(source);
  if (!compiled.ok()) return compiled.status();
  return (*compiled)->render(variables, budget);
}

}  // namespace foregate
