#include "tools/load/load_dataset.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tools/load/load_draws.h"
#include "tools/load/load_text.h"

namespace foregate {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kPrefixStream = std::uint64_t{1} << 41;
constexpr std::uint64_t kLengthStream = 0x1e27ULL;
constexpr std::uint64_t kOrderStream = 0x0de2ULL;

int within(LoadDraws& draws, int length, double range) {
  const double low = std::floor(length * (1 - range));
  const double high = std::ceil(length * (1 + range));
  return std::max(1, static_cast<int>(low) + static_cast<int>(draws.below(static_cast<std::uint32_t>(high - low) + 1)));
}

Result<LoadRequest> file_request(std::string_view line, std::size_t number, const DatasetOptions& options) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) return wrong_load_line(number, "is not a JSON object");
  LoadRequest request;
  request.output_tokens = options.output_tokens;
  for (const char* name : {"output_tokens", "max_tokens"}) {
    const auto found = json.find(name);
    if (found == json.end()) continue;
    if (!found->is_number_integer() || *found < 1 || *found > kMostLength) {
      return wrong_load_line(number, std::string(name) + " is no count");
    }
    request.output_tokens = found->get<int>();
  }
  if (const auto messages = json.find("messages"); messages != json.end()) {
    if (!options.chat) return wrong_load_line(number, "has messages, which --backend openai-chat takes");
    request.input = "\"messages\": " + messages->dump(-1, ' ', false, Json::error_handler_t::replace);
    return request;
  }
  const auto prompt = json.find("prompt");
  if (prompt == json.end() || !prompt->is_string()) return wrong_load_line(number, "has neither prompt nor messages");
  request.input = load_input(prompt->get<std::string>(), options.chat);
  return request;
}

// Text of turn `number`, empty when there is none.
std::string turn_text(const Json& conversation, std::size_t number) {
  const auto turns = conversation.is_object() ? conversation.find("conversations") : conversation.end();
  if (!conversation.is_object() || turns == conversation.end() || !turns->is_array() || turns->size() <= number)
    return {};
  const Json& turn = (*turns)[number];
  const auto value = turn.is_object() ? turn.find("value") : turn.end();
  return turn.is_object() && value != turn.end() && value->is_string() ? value->get<std::string>() : std::string();
}

int tokens_about(const std::string& text) {
  std::istringstream words(text);
  std::int64_t count = 0;
  for (std::string word; words >> word;) ++count;
  return static_cast<int>(std::clamp<std::int64_t>((count * 4 + 2) / 3, 1, kMostLength));
}

void begin_again(std::vector<LoadRequest>& all, std::size_t count) {
  all.reserve(count);
  for (std::size_t i = 0; all.size() < count; ++i) all.push_back(all[i]);
}

}  // namespace

std::vector<LoadRequest> random_requests(const DatasetOptions& options) {
  std::vector<LoadRequest> requests;
  LoadDraws draws(options.seed, kLengthStream);
  for (std::size_t i = 0; i < options.count; ++i) {
    const int words = within(draws, options.input_words, options.range);
    const int tokens = within(draws, options.output_tokens, options.range);
    requests.push_back({load_input(load_words(options.seed, i, words), options.chat), tokens});
  }
  return requests;
}

std::vector<LoadRequest> repeated_prefixes(const DatasetOptions& options) {
  std::vector<LoadRequest> requests;
  for (std::size_t i = 0; i < options.count; ++i) {
    const std::uint64_t prefix = kPrefixStream + i % static_cast<std::size_t>(std::max(options.prefixes, 1));
    const std::string text =
        load_words(options.seed, prefix, options.prefix_words) + " " + load_words(options.seed, i, options.input_words);
    requests.push_back({load_input(text, options.chat), options.output_tokens});
  }
  return requests;
}

Result<std::vector<LoadRequest>> requests_of_file(std::string_view text, const DatasetOptions& options) {
  std::vector<LoadRequest> all;
  const auto lines = load_lines(text);
  for (std::size_t i = 0; i < lines.size() && all.size() < options.count; ++i) {
    if (lines[i].empty()) continue;
    ASSIGN_OR_RETURN(LoadRequest request, file_request(lines[i], i, options));
    all.push_back(std::move(request));
  }
  if (all.empty()) return invalid_argument("the file has no requests", "dataset-path");
  begin_again(all, options.count);
  return all;
}

Result<std::vector<LoadRequest>> requests_of_sharegpt(std::string_view text, const DatasetOptions& options) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_array()) return invalid_argument("is not a JSON list of conversations", "dataset-path");
  std::vector<LoadRequest> all;
  for (const Json& conversation : json) {
    const std::string asked = turn_text(conversation, 0);
    const std::string answered = turn_text(conversation, 1);
    if (asked.empty() || answered.empty()) continue;
    const int tokens = options.output_tokens > 0 ? options.output_tokens : tokens_about(answered);
    all.push_back({load_input(asked, options.chat), tokens});
  }
  if (all.empty()) return invalid_argument("no conversation in it was answered", "dataset-path");
  LoadDraws draws(options.seed, kOrderStream);
  for (std::size_t i = all.size(); i > 1; --i) std::swap(all[i - 1], all[draws.below(static_cast<std::uint32_t>(i))]);
  if (all.size() > options.count) all.resize(options.count);
  begin_again(all, options.count);
  return all;
}

}  // namespace foregate
