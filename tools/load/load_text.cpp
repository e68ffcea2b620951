#include "tools/load/load_text.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "engine/base/rng.h"

namespace foregate {
namespace {

using Json = nlohmann::json;

constexpr const char* kWords[] = {"the",   "fox",   "river",   "old",   "house", "light", "stone",  "walked",
                                  "quiet", "green", "morning", "and",   "boat",  "song",  "under",  "small",
                                  "found", "bread", "tree",    "wind",  "story", "cold",  "friend", "red",
                                  "cloud", "sat",   "long",    "night", "gave",  "blue",  "near",   "door"};

}  // namespace

std::string load_words(std::uint64_t seed, std::uint64_t stream, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    const auto draw = philox4x32(seed, stream, static_cast<std::uint64_t>(i));
    if (!text.empty()) text += ' ';
    text += kWords[draw[0] % std::size(kWords)];
  }
  return text;
}

std::string load_input(const std::string& text, bool chat) {
  const auto dump = [](const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); };
  if (!chat) return "\"prompt\": " + dump(Json(text));
  return "\"messages\": " + dump(Json::array({{{"role", "user"}, {"content", text}}}));
}

std::vector<std::string_view> load_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    lines.push_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

Status wrong_load_line(std::size_t number, const std::string& what) {
  return invalid_argument("line " + std::to_string(number + 1) + ": " + what, "dataset-path");
}

}  // namespace foregate
