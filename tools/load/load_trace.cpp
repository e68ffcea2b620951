// Traces of requests as Azure and Mooncake published them. Part of load_dataset.h.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "tools/load/load_dataset.h"
#include "tools/load/load_text.h"

namespace foregate {
namespace {

using Json = nlohmann::json;

constexpr int kMooncakeBlock = 512;                             // tokens of one hash id
constexpr std::uint64_t kBlockStream = std::uint64_t{1} << 40;  // apart from those of whole prompts

// "2023-11-16 18:15:46.6805900" as seconds; below 0 when it is none.
double azure_seconds(const char* text) {
  std::tm at{};
  double second = 0;
  const int parts =
      std::sscanf(text, "%d-%d-%d %d:%d:%lf", &at.tm_year, &at.tm_mon, &at.tm_mday, &at.tm_hour, &at.tm_min, &second);
  if (parts != 6) return -1;
  at.tm_year -= 1900;
  at.tm_mon -= 1;
  return static_cast<double>(timegm(&at)) + second;
}

Result<LoadRequest> azure_request(std::string_view line, std::size_t number, const DatasetOptions& options) {
  char stamp[64] = {};
  int context = 0;
  int generated = 0;
  const std::string text(line);
  if (std::sscanf(text.c_str(), "%63[^,],%d,%d", stamp, &context, &generated) != 3) {
    return wrong_load_line(number, "is not TIMESTAMP,ContextTokens,GeneratedTokens");
  }
  LoadRequest request;
  request.at_seconds = azure_seconds(stamp);
  if (!(request.at_seconds >= 0)) return wrong_load_line(number, "has no time");
  if (context < 1 || context > kMostLength || generated < 0 || generated > kMostLength) {
    return wrong_load_line(number, "has a length out of range");
  }
  request.input = load_input(load_words(options.seed, number, context), options.chat);
  request.output_tokens = std::max(generated, 1);
  return request;
}

std::int64_t whole(const Json& json, const char* name) {
  const auto found = json.find(name);
  return found != json.end() && found->is_number_integer() ? found->get<std::int64_t>() : -1;
}

Result<LoadRequest> mooncake_request(std::string_view line, std::size_t number, const DatasetOptions& options) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) return wrong_load_line(number, "is not a JSON object");
  std::int64_t left = whole(json, "input_length");
  if (left < 1 || left > kMostLength) return wrong_load_line(number, "has no input_length");
  const auto ids = json.find("hash_ids");
  std::string text;
  const auto add = [&](std::uint64_t stream, std::int64_t words) {
    text += (text.empty() ? "" : " ") + load_words(options.seed, stream, static_cast<int>(words));
    left -= words;
  };
  if (ids != json.end() && ids->is_array()) {
    for (const Json& id : *ids) {
      if (left <= 0 || !id.is_number_integer()) break;
      add(kBlockStream + id.get<std::uint64_t>(), std::min<std::int64_t>(left, kMooncakeBlock));
    }
  }
  if (left > 0) add(number, left);
  LoadRequest request;
  request.at_seconds = static_cast<double>(std::max<std::int64_t>(whole(json, "timestamp"), 0)) / 1000;
  request.output_tokens = static_cast<int>(std::clamp<std::int64_t>(whole(json, "output_length"), 1, kMostLength));
  request.input = load_input(text, options.chat);
  return request;
}

}  // namespace

Result<std::vector<LoadRequest>> requests_of_trace(std::string_view text, const DatasetOptions& options) {
  std::vector<LoadRequest> all;
  const auto lines = load_lines(text);
  for (std::size_t i = 0; i < lines.size() && all.size() < options.count; ++i) {
    if (lines[i].empty() || (i == 0 && lines[i].rfind("TIMESTAMP", 0) == 0)) continue;
    const bool mooncake = lines[i].front() == '{';
    auto request = mooncake ? mooncake_request(lines[i], i, options) : azure_request(lines[i], i, options);
    if (!request.ok()) return request.status();
    all.push_back(std::move(request).value());
  }
  if (all.empty()) return invalid_argument("the trace has no requests", "dataset-path");
  const auto earlier = [](const LoadRequest& a, const LoadRequest& b) { return a.at_seconds < b.at_seconds; };
  std::stable_sort(all.begin(), all.end(), earlier);
  const double first = all.front().at_seconds;
  for (LoadRequest& request : all) request.at_seconds -= first;
  return all;
}

}  // namespace foregate
