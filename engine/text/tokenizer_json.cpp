#include "engine/text/tokenizer_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/base/log.h"

namespace foregate::tok {
namespace {

using nlohmann::json;

class Reader : public nlohmann::json_sax<json> {
 public:
  explicit Reader(TokenizerJson* out) : out_(out) {}
  const Status& status() const { return status_; }
  json take_root() { return std::move(root_); }

  bool null() override { return scalar(json(nullptr)); }
  bool boolean(bool value) override { return scalar(json(value)); }
  bool number_integer(number_integer_t value) override { return vocab_id(value) || scalar(json(value)); }
  bool number_unsigned(number_unsigned_t value) override {
    return vocab_id(static_cast<std::int64_t>(std::min<number_unsigned_t>(value, INT64_MAX))) || scalar(json(value));
  }
  bool number_float(number_float_t value, const string_t&) override { return scalar(json(value)); }
  bool binary(binary_t&) override { return fail("", "binary data"); }

  bool string(string_t& value) override {
    if (mode_ == Mode::kMerges) return merge_line(value);
    if (mode_ == Mode::kMergePair) {
      pair_.push_back(std::move(value));
      return pair_.size() <= 2 || bad_merge("has more than two parts");
    }
    return scalar(json(std::move(value)));
  }

  bool start_object(std::size_t) override {
    if (mode_ != Mode::kTree) return wrong_type();
    if (at("model", "vocab")) {
      mode_ = Mode::kVocab;
      out_->has_vocab = true;
      return true;
    }
    return open(json::object());
  }
  bool end_object() override {
    if (mode_ == Mode::kVocab) {
      mode_ = Mode::kTree;
      return true;
    }
    open_.pop_back();
    return true;
  }
  bool start_array(std::size_t) override {
    if (mode_ == Mode::kMerges) {
      mode_ = Mode::kMergePair;
      pair_.clear();
      return true;
    }
    if (mode_ != Mode::kTree) return wrong_type();
    if (at("model", "merges")) {
      mode_ = Mode::kMerges;
      out_->has_merges = true;
      return true;
    }
    return open(json::array());
  }
  bool end_array() override {
    if (mode_ == Mode::kMergePair) {
      mode_ = Mode::kMerges;
      if (pair_.size() != 2) return bad_merge("does not have two parts");
      return add_merge(std::move(pair_[0]), std::move(pair_[1]));
    }
    if (mode_ == Mode::kMerges) {
      mode_ = Mode::kTree;
      return true;
    }
    open_.pop_back();
    return true;
  }

  bool key(string_t& name) override {
    key_ = std::move(name);
    if (mode_ == Mode::kTree && open_.back()->contains(key_))
      return fail(key_, "key " + quoted(key_, 40) + " appears twice");
    if (open_.size() == 1) section_ = key_;
    const bool repeated = (at("model", "vocab") && out_->has_vocab) || (at("model", "merges") && out_->has_merges);
    if (mode_ == Mode::kTree && repeated) return fail("model." + key_, "model." + key_ + " appears twice");
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return fail("", "not valid JSON at byte " + std::to_string(position));
  }

 private:
  enum class Mode { kTree, kVocab, kMerges, kMergePair };

  bool fail(const std::string& field, const std::string& why) {
    if (status_.ok()) status_ = data_loss(why, field);
    return false;
  }
  bool wrong_type() {
    const std::string field = mode_ == Mode::kVocab ? "model.vocab" : "model.merges";
    return fail(field, field + (mode_ == Mode::kVocab ? ": every value must be a whole number"
                                                      : ": every entry must be a string or a pair of strings"));
  }
  bool bad_merge(const std::string& why) {
    return fail("model.merges", "model.merges[" + std::to_string(out_->merges.size()) + "] " + why);
  }
  bool at(std::string_view section, std::string_view name) const {
    return open_.size() == 2 && section_ == section && key_ == name;
  }

  bool vocab_id(std::int64_t id) {
    if (mode_ != Mode::kVocab) return false;
    if (out_->vocab.size() >= TokenizerJson::kMaxVocab)
      return !fail("model.vocab", "model.vocab has more than 4194304 entries");
    out_->vocab.emplace_back(std::move(key_), id);
    return true;
  }
  bool merge_line(const std::string& line) {
    const std::size_t space = line.find(' ');
    if (line.rfind("#version", 0) == 0) return true;  // first line of a merges.txt
    if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
      return bad_merge("is not two parts with one space between");
    }
    return add_merge(line.substr(0, space), line.substr(space + 1));
  }
  bool add_merge(std::string left, std::string right) {
    if (out_->merges.size() >= TokenizerJson::kMaxMerges) {
      return fail("model.merges", "model.merges has more than 4194304 entries");
    }
    out_->merges.emplace_back(std::move(left), std::move(right));
    return true;
  }

  json* place(json value) {
    if (open_.empty()) return &(root_ = std::move(value));
    json& parent = *open_.back();
    if (parent.is_array()) return &parent.emplace_back(std::move(value));
    return &(parent[key_] = std::move(value));
  }
  bool scalar(json value) {
    if (mode_ != Mode::kTree) return status_.ok() && wrong_type();
    place(std::move(value));
    return true;
  }
  bool open(json value) {
    if (open_.size() >= TokenizerJson::kMaxDepth) return fail("", "nested deeper than 64 levels");
    open_.push_back(place(std::move(value)));
    return true;
  }

  TokenizerJson* out_;
  json root_;
  std::vector<json*> open_;
  Mode mode_ = Mode::kTree;
  std::string section_;  // key of the top level that is being read
  std::string key_;
  std::vector<std::string> pair_;
  Status status_;
};

}  // namespace

Result<TokenizerJson> read_tokenizer_json(std::string_view text) {
  TokenizerJson file;
  Reader reader(&file);
  const bool parsed = json::sax_parse(text.begin(), text.end(), &reader);
  if (!reader.status().ok()) return reader.status();
  if (!parsed) return data_loss("not valid JSON");
  file.rest = std::make_shared<json>(reader.take_root());
  if (!file.rest->is_object()) return data_loss("the top level is not an object");
  return file;
}

}  // namespace foregate::tok
