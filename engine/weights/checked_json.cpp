#include "engine/weights/checked_json.h"

#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>
#include <vector>

namespace foregate {
namespace {

using Json = nlohmann::json;

// Receives parse events, keeps the open objects' keys and stops at the first fault.
class Checker final : public nlohmann::json_sax<Json> {
 public:
  explicit Checker(int max_depth) : max_depth_(max_depth) {}
  const std::string& fault() const { return fault_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return open(); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    if (keys_.back().insert(name).second) return true;
    fault_ = "key \"" + printable(name) + "\" is given twice";
    return false;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    fault_ = "not valid JSON at byte " + std::to_string(position);
    return false;
  }

 private:
  bool open() {
    keys_.emplace_back();
    if (static_cast<int>(keys_.size()) <= max_depth_) return true;
    fault_ = "nested deeper than " + std::to_string(max_depth_) + " levels";
    return false;
  }
  bool close() {
    keys_.pop_back();
    return true;
  }

  int max_depth_;
  std::string fault_;
  std::vector<std::unordered_set<std::string>> keys_;  // one set per open object or array
};

}  // namespace

std::string printable(std::string_view text) {
  constexpr std::size_t kLongest = 120;
  std::string out(text.substr(0, kLongest));
  for (char& c : out) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  if (text.size() > kLongest) out += "... (" + std::to_string(text.size()) + " bytes)";
  return out;
}

Status parse_checked_json(std::string_view text, int max_depth, std::string_view label, Json& out) {
  const std::string where = std::string(label) + ": ";
  // The parser takes a NUL byte for the end of the text and would overlook what follows.
  if (text.find('\0') != std::string_view::npos) return data_loss(where + "not valid JSON: it holds a NUL byte");
  try {
    Checker checker(max_depth);
    if (!Json::sax_parse(text, &checker)) {
      return data_loss(where + (checker.fault().empty() ? "not valid JSON" : checker.fault()));
    }
    out = Json::parse(text);
  } catch (const std::exception&) {
    return data_loss(where + "not valid JSON");
  }
  return {};
}

}  // namespace foregate
