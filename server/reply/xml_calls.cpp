#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "server/reply/readers.h"

namespace foregate {
namespace {

constexpr std::pair<std::string_view, std::string_view> kPython[] = {
    {"True", "true"}, {"False", "false"}, {"None", "null"}};

// Arguments as a JSON object, of which texts go out as they come and other values when they are whole.
class ArgumentsOut {
 public:
  void begin(const ToolShape* tool) {
    tool_ = tool;
    members_ = 0;
  }
  void key(const std::string& key, PieceSink& out) {
    put(members_++ == 0 ? "{" : ", ", out);
    put(quoted(key) + ": ", out);
    text_ = is_text(key);
    value_.clear();
    started_ = false;
    if (text_) put("\"", out);
  }
  // The line break at either end of a value is markup.
  void value(char c, PieceSink& out) {
    if (!std::exchange(started_, true) && c == '\n') return;
    value_ += c;
    if (!text_ && value_.size() > kMostHeldBytes) {
      text_ = true;  // too long to be looked at as a whole
      put("\"", out);
    }
    if (!text_ || (c == '\n' && value_.size() == 1)) return;
    if (c == '\n') {
      flush(value_.size() - 1, out);
    } else {
      flush(value_.size(), out);
    }
  }
  void value_end(PieceSink& out) {
    if (!value_.empty() && value_.back() == '\n') value_.pop_back();
    if (text_) {
      flush(value_.size(), out);
      return put("\"", out);
    }
    std::string_view text = trimmed(value_);
    for (const auto& [python, json] : kPython) {
      if (text == python) text = json;
    }
    const auto parsed = nlohmann::json::parse(text.begin(), text.end(), nullptr, false);
    put(parsed.is_discarded() ? quoted(value_) : std::string(text), out);
  }
  void end(PieceSink& out) { put(members_ == 0 ? "{}" : "}", out); }

 private:
  static void put(std::string_view text, PieceSink& out) { out.put(ReplyPiece::Kind::kArguments, text); }
  static std::string quoted(std::string_view text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  void flush(std::size_t bytes, PieceSink& out) {
    for (const char c : std::string_view(value_).substr(0, bytes)) {
      const bool plain = static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\';
      const std::string spelled = plain ? std::string() : quoted({&c, 1});
      put(plain ? std::string_view(&c, 1) : std::string_view(spelled).substr(1, spelled.size() - 2), out);
    }
    value_.erase(0, bytes);
  }
  // What the schema does not say is a text.
  bool is_text(const std::string& key) const {
    const auto in = [&](const std::vector<std::string>& list) {
      return std::find(list.begin(), list.end(), key) != list.end();
    };
    return tool_ == nullptr || !in(tool_->values);
  }

  const ToolShape* tool_ = nullptr;
  std::string value_;
  std::size_t members_ = 0;
  bool text_ = true;
  bool started_ = false;
};

class XmlCalls final : public ByteReader {
 public:
  explicit XmlCalls(const ReplyForm& form)
      : known_(form.known), glm_(form.tools == ToolFormat::kGlmXml), marks_(glm_ ? glm_marks() : qwen_marks()) {}

  void byte(char c, PieceSink& out) override {
    std::string text;
    const std::size_t mark = marks_.push(c, text);
    for (const char one : text) plain(one, out);
    if (mark != MarkScan::kNone) marked(mark, out);
  }

  void end(PieceSink& out) override {
    for (const char one : marks_.rest()) plain(one, out);
    if (!raw_.empty()) content_.put(raw_, out);
    content_.end(out);
  }

 private:
  enum class At { kContent, kOpen, kName, kBetween, kKey, kBeforeValue, kValue, kBehind };
  enum Mark : std::size_t { kBegin, kEnd, kKeyBegin, kKeyEnd, kValueBegin, kValueEnd, kNameBegin, kNameEnd };

  static std::vector<std::string> glm_marks() {
    return {"<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"};
  }
  // A key ends at `>` and its value begins there, see plain(): no marks for that.
  static std::vector<std::string> qwen_marks() {
    return {"<tool_call>", "</tool_call>", "<parameter=", "", "", "</parameter>", "<function=", "</function>"};
  }

  void plain(char c, PieceSink& out) {
    switch (at_) {
      case At::kContent: return content_.put({&c, 1}, out);
      case At::kOpen:
        raw_ += c;
        if (is_space(c)) return;
        if (!glm_) return give_up(out);
        at_ = At::kName;
        name_ += c;
        return;
      case At::kName:
        raw_ += c;
        if (c == (glm_ ? '\n' : '>')) return announce(out);
        name_ += c;
        if (name_.size() > kMostNameBytes) give_up(out);
        return;
      case At::kKey:
        if (!glm_ && c == '>') return begin_value(out);
        if (key_.size() < kMostNameBytes) key_ += c;
        return;
      case At::kValue: return arguments_.value(c, out);
      case At::kBetween:
      case At::kBeforeValue:
      case At::kBehind: return;  // space
    }
  }

  void marked(std::size_t mark, PieceSink& out) {
    if (at_ == At::kValue) return in_value(mark, out);
    if (mark == kBegin || (mark == kNameBegin && at_ != At::kOpen)) {
      if (at_ == At::kBetween || at_ == At::kKey || at_ == At::kBeforeValue) arguments_.end(out);
      open(mark, out);
    } else if (mark == kNameBegin) {
      raw_ += marks_.mark(mark);
      at_ = At::kName;
    } else if (glm_ && at_ == At::kName && (mark == kKeyBegin || mark == kEnd)) {
      announce(out);
      if (at_ == At::kBetween) marked(mark, out);
    } else if (at_ == At::kBetween && mark == kKeyBegin) {
      key_.clear();
      at_ = At::kKey;
    } else if (at_ == At::kKey && mark == kKeyEnd) {
      at_ = At::kBeforeValue;
    } else if (at_ == At::kBeforeValue && mark == kValueBegin) {
      begin_value(out);
    } else if (mark == kEnd || mark == kNameEnd) {
      close(mark, out);
    } else if (at_ == At::kContent || at_ == At::kOpen || at_ == At::kName) {
      give_up(out);
      content_.put(marks_.mark(mark), out);
    }
  }

  void open(std::size_t mark, PieceSink& out) {
    if (at_ == At::kName || at_ == At::kOpen) give_up(out);
    content_.drop_space();
    raw_ = marks_.mark(mark);
    name_.clear();
    wrapped_ = mark == kBegin;
    at_ = wrapped_ ? At::kOpen : At::kName;
  }

  void close(std::size_t mark, PieceSink& out) {
    if (at_ == At::kContent || at_ == At::kOpen || at_ == At::kName) {
      give_up(out);
      return content_.put(marks_.mark(mark), out);
    }
    if (at_ != At::kBehind) arguments_.end(out);
    at_ = mark == kEnd || !wrapped_ ? At::kContent : At::kBehind;
    content_.skip_space();
  }

  // Marks other than its end are part of a value; a call that ends ends it too.
  void in_value(std::size_t mark, PieceSink& out) {
    if (mark != kValueEnd && mark != kEnd && mark != kNameEnd) {
      for (const char c : marks_.mark(mark)) arguments_.value(c, out);
      return;
    }
    arguments_.value_end(out);
    at_ = At::kBetween;
    if (mark != kValueEnd) marked(mark, out);
  }

  void begin_value(PieceSink& out) {
    arguments_.key(std::string(trimmed(key_)), out);
    at_ = At::kValue;
  }

  void announce(PieceSink& out) {
    const std::string name(trimmed(name_));
    if (name.empty()) return give_up(out);
    const auto known = std::find_if(known_.begin(), known_.end(), [&](const ToolShape& t) { return t.name == name; });
    out.put(ReplyPiece::Kind::kCall, name);
    arguments_.begin(known == known_.end() ? nullptr : &*known);
    raw_.clear();
    at_ = At::kBetween;
  }

  void give_up(PieceSink& out) {
    at_ = At::kContent;
    content_.put(std::exchange(raw_, {}), out);
  }

  const std::vector<ToolShape> known_;
  const bool glm_;
  MarkScan marks_;
  ContentOut content_;
  ArgumentsOut arguments_;
  At at_ = At::kContent;
  std::string raw_, name_, key_;
  bool wrapped_ = false;  // the call began with <tool_call>
};

}  // namespace

std::unique_ptr<ByteReader> xml_calls(const ReplyForm& form) {
  return std::make_unique<XmlCalls>(form);
}

}  // namespace foregate
