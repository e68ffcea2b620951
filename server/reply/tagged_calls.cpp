#include <utility>

#include "server/reply/call_object.h"
#include "server/reply/readers.h"

namespace foregate {
namespace {

class TaggedCalls final : public ByteReader {
 public:
  void byte(char c, PieceSink& out) override {
    if (at_ == At::kCall) return call(c, out);
    std::string text;
    const std::size_t mark = marks_.push(c, text);
    if (at_ == At::kContent) content_.put(text, out);
    if (mark == kBegin) {
      begin();
    } else if (mark == kEnd && closing_) {
      closing_ = false;
      at_ = At::kContent;
      content_.skip_space();
    } else if (mark == kEnd) {
      content_.put(marks_.mark(kEnd), out);
    }
  }

  void end(PieceSink& out) override {
    if (at_ == At::kCall) content_.put(raw_, out);
    if (at_ == At::kContent) content_.put(marks_.rest(), out);
    content_.end(out);
  }

 private:
  enum class At { kContent, kCall, kSkip };
  static constexpr std::size_t kBegin = 0, kEnd = 1;

  void begin() {
    content_.drop_space();
    at_ = At::kCall;
    object_ = CallObject();
    raw_ = marks_.mark(kBegin);
  }

  // What was not a call after all is content again, unless the client heard of it already.
  void call(char c, PieceSink& out) {
    if (!object_.announced()) raw_ += c;
    const auto step = object_.push(c, out);
    if (object_.announced()) raw_.clear();
    if (step == CallObject::Step::kMore && raw_.size() < kMostHeldBytes) return;
    closing_ = object_.announced();
    at_ = step == CallObject::Step::kBroken && closing_ ? At::kSkip : At::kContent;
    if (closing_) return content_.skip_space();
    // The byte that broke it may begin the next mark.
    raw_.pop_back();
    content_.put(std::exchange(raw_, {}), out);
    byte(c, out);
  }

  MarkScan marks_{{"<tool_call>", "</tool_call>"}};
  ContentOut content_;
  CallObject object_;
  At at_ = At::kContent;
  std::string raw_;       // of a call that is not announced
  bool closing_ = false;  // a call was read whose closing mark may follow
};

// One object after another, or a list of them.
class BareCalls final : public ByteReader {
 public:
  explicit BareCalls(const ReplyForm& form) : names_(form.names()) {}

  void byte(char c, PieceSink& out) override {
    if (at_ == At::kContent) return content_.put({&c, 1}, out);
    if (at_ == At::kSkip) return;
    if (at_ == At::kCall) return call(c, out);
    raw_ += c;
    if (at_ == At::kStart && before(c)) return;
    if (c == '{') {
      at_ = At::kCall;
      object_ = CallObject(&names_);
      object_.push(c, out);
    } else if (at_ == At::kStart && c == '[' && !list_) {
      list_ = true;
    } else if (at_ == At::kNext && list_ && c == ']') {
      at_ = At::kContent;
      raw_.clear();
      content_.skip_space();
    } else if (!is_space(c) && !(at_ == At::kNext && (c == ',' || c == ';'))) {
      give_up(out);
    } else if (raw_.size() > kMostHeldBytes) {
      give_up(out);
    }
  }

  void end(PieceSink& out) override {
    if (at_ == At::kStart || at_ == At::kCall) content_.put(raw_, out);
    content_.end(out);
  }

 private:
  enum class At { kStart, kCall, kNext, kContent, kSkip };

  // The mark that some models put before calls. True while `c` belongs to it.
  bool before(char c) {
    static constexpr std::string_view kTag = "<|python_tag|>";
    if (tag_ == 0 && c != kTag[0]) return false;
    if (tag_ >= kTag.size() || kTag[tag_] != c) return false;
    ++tag_;
    return true;
  }

  void give_up(PieceSink& out) {
    at_ = At::kContent;
    content_.put(std::exchange(raw_, {}), out);
  }

  void call(char c, PieceSink& out) {
    if (!object_.announced()) raw_ += c;
    const auto step = object_.push(c, out);
    if (object_.announced()) raw_.clear();
    if (step == CallObject::Step::kDone) {
      at_ = At::kNext;
      content_.skip_space();
    } else if (step == CallObject::Step::kBroken && object_.announced()) {
      at_ = At::kSkip;
    } else if (step == CallObject::Step::kBroken || raw_.size() > kMostHeldBytes) {
      give_up(out);
    }
  }

  const std::vector<std::string> names_;
  ContentOut content_;
  CallObject object_;
  At at_ = At::kStart;
  std::string raw_;
  std::size_t tag_ = 0;
  bool list_ = false;
};

class MistralCalls final : public ByteReader {
 public:
  void byte(char c, PieceSink& out) override {
    if (at_ == At::kList || at_ == At::kObject || at_ == At::kArguments) return within(c, out);
    std::string text;
    const std::size_t mark = marks_.push(c, text);
    for (const char one : text) plain(one, out);
    if (mark == kCalls) {
      if (at_ == At::kName) give_up(out);
      content_.drop_space();
      at_ = At::kOpen;
      raw_ = marks_.mark(kCalls);
      name_.clear();
      id_ = false;
    } else if (mark != MarkScan::kNone && at_ == At::kName) {
      raw_ += marks_.mark(mark);
      id_ = mark == kId;
    } else if (mark != MarkScan::kNone) {
      for (const char one : marks_.mark(mark)) plain(one, out);
    }
  }

  void end(PieceSink& out) override {
    for (const char one : marks_.rest()) plain(one, out);
    if (at_ != At::kContent) content_.put(raw_, out);
    content_.end(out);
  }

 private:
  enum class At { kContent, kOpen, kName, kList, kObject, kArguments };
  static constexpr std::size_t kCalls = 0, kId = 2;

  void plain(char c, PieceSink& out) {
    if (at_ == At::kArguments || at_ == At::kList || at_ == At::kObject) return within(c, out);
    if (at_ == At::kContent) return content_.put({&c, 1}, out);
    raw_ += c;
    if (at_ == At::kOpen) {
      if (is_space(c)) return;
      at_ = c == '[' ? At::kList : At::kName;
      if (c == '[') return;
    }
    if (c == '{') return announce(out);
    if (!id_) name_ += c;
    if (name_.size() > kMostNameBytes || raw_.size() > kMostHeldBytes) give_up(out);
  }

  void announce(PieceSink& out) {
    const std::string name(trimmed(name_));
    if (name.empty()) return give_up(out);
    out.put(ReplyPiece::Kind::kCall, name);
    raw_.clear();
    scan_ = {};
    at_ = At::kArguments;
    within('{', out);
  }

  void within(char c, PieceSink& out) {
    if (at_ == At::kArguments) {
      const auto step = scan_.push(c);
      if (step != JsonValueScan::Step::kBroken) out.put(ReplyPiece::Kind::kArguments, {&c, 1});
      if (step != JsonValueScan::Step::kMore) done();
      return;
    }
    raw_ += c;
    if (at_ == At::kList) {
      if (c == ']') return raw_.clear(), done();
      if (is_space(c) || (c == ',' && said_)) return;
      if (c != '{') return give_up(out);
      at_ = At::kObject;
      object_ = CallObject();
    }
    const auto step = object_.push(c, out);
    if (object_.announced()) {
      raw_.clear();
      said_ = true;
    }
    if (step == CallObject::Step::kDone) {
      at_ = At::kList;
    } else if (step == CallObject::Step::kBroken || raw_.size() > kMostHeldBytes) {
      give_up(out);
    }
  }

  void done() {
    at_ = At::kContent;
    said_ = false;
    content_.skip_space();
  }
  void give_up(PieceSink& out) {
    at_ = At::kContent;
    said_ = false;
    content_.put(std::exchange(raw_, {}), out);
  }

  MarkScan marks_{{"[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"}};
  ContentOut content_;
  CallObject object_;
  JsonValueScan scan_;
  At at_ = At::kContent;
  std::string raw_, name_;
  bool id_ = false;    // the id of a call is read, which is not passed on
  bool said_ = false;  // a call of this list was announced
};

}  // namespace

std::unique_ptr<ByteReader> tagged_calls() {
  return std::make_unique<TaggedCalls>();
}

std::unique_ptr<ByteReader> bare_calls(const ReplyForm& form) {
  return std::make_unique<BareCalls>(form);
}

std::unique_ptr<ByteReader> mistral_calls() {
  return std::make_unique<MistralCalls>();
}

}  // namespace foregate
