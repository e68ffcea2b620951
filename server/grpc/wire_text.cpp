#include "server/grpc/wire_text.h"

#include <nlohmann/json.hpp>

#include "engine/text/jinja_utf8.h"

namespace foregate {

std::string wire_text(const std::string& text) {
  if (jinja::valid_utf8(text)) return text;
  using Json = nlohmann::json;
  return Json::parse(Json(text).dump(-1, ' ', false, Json::error_handler_t::replace)).get<std::string>();
}

}  // namespace foregate
