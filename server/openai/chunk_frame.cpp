#include "server/openai/chunk_frame.h"

#include <nlohmann/json.hpp>

#include "engine/base/status.h"
#include "engine/text/jinja_utf8.h"

namespace foregate {
namespace {

void append_escape(char c, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  switch (c) {
    case '"': out += "\\\""; return;
    case '\\': out += "\\\\"; return;
    case '\b': out += "\\b"; return;
    case '\f': out += "\\f"; return;
    case '\n': out += "\\n"; return;
    case '\r': out += "\\r"; return;
    case '\t': out += "\\t"; return;
    default:
      out += "\\u00";
      out += kHex[(c >> 4) & 15];
      out += kHex[c & 15];
  }
}

}  // namespace

void append_json_text(std::string_view text, std::string& out) {
  if (!jinja::valid_utf8(text)) {
    using Json = nlohmann::json;
    const std::string quoted = Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
    out.append(quoted, 1, quoted.size() - 2);
    return;
  }
  std::size_t plain = 0;  // where the bytes that stand for themselves begin
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text.substr(plain, i - plain));
    append_escape(c, out);
    plain = i + 1;
  }
  out.append(text.substr(plain));
}

ChunkFrame::ChunkFrame(std::string_view json, std::size_t places) : parts_(places + 1) {
  for (std::size_t i = places; i > 0; --i) {
    const std::size_t at = json.rfind("\"\"");
    CHECK(at != std::string_view::npos);
    parts_[i] = json.substr(at + 1);
    json = json.substr(0, at + 1);
  }
  parts_[0] = json;
}

void ChunkFrame::fill(std::string_view text, std::string& out) const {
  out.assign(parts_[0]);
  for (std::size_t i = 1; i < parts_.size(); ++i) {
    append_json_text(text, out);
    out.append(parts_[i]);
  }
}

}  // namespace foregate
