#include <utility>

#include "server/reply/call_object.h"
#include "server/reply/readers.h"

namespace foregate {
namespace {

// section-begin (call-begin header separator arguments call-end)* section-end
class MarkedCalls final : public ByteReader {
 public:
  explicit MarkedCalls(std::vector<std::string> marks, bool numbered) : marks_(std::move(marks)), numbered_(numbered) {}

  void byte(char c, PieceSink& out) override {
    if (at_ == At::kArguments) return argument(c, out);
    std::string text;
    const std::size_t mark = marks_.push(c, text);
    for (const char one : text) plain(one, out);
    if (mark != MarkScan::kNone) marked(mark, out);
  }

  void end(PieceSink& out) override {
    if (at_ != At::kArguments) {
      for (const char one : marks_.rest()) plain(one, out);
    }
    if (at_ == At::kHeader || at_ == At::kLead) content_.put(raw_, out);
    content_.end(out);
  }

 private:
  enum class At { kContent, kHeader, kLead, kArguments, kBehind };
  enum Mark : std::size_t { kSectionBegin, kSectionEnd, kBegin, kSeparator, kEnd };

  void plain(char c, PieceSink& out) {
    if (at_ == At::kArguments) return argument(c, out);
    if (at_ == At::kContent) return content_.put({&c, 1}, out);
    if (at_ == At::kBehind) return;
    raw_ += c;
    std::string& text = at_ == At::kHeader ? header_ : lead_;
    if (at_ == At::kLead && c == '{') return announce(out, true);
    text += c;
    if (text.size() > kMostNameBytes) give_up(out);
  }

  void marked(std::size_t mark, PieceSink& out) {
    if (at_ == At::kHeader && mark == kSeparator) {
      raw_ += marks_.mark(mark);
      at_ = At::kLead;
      lead_.clear();
    } else if (at_ == At::kLead && mark == kEnd) {
      announce(out, false);
    } else if (mark == kBegin) {
      if (at_ == At::kHeader || at_ == At::kLead) give_up(out);
      content_.drop_space();
      at_ = At::kHeader;
      raw_ = marks_.mark(mark);
      header_.clear();
    } else if (at_ == At::kHeader || at_ == At::kLead) {
      give_up(out);
    } else {
      at_ = At::kContent;
      if (mark == kSectionBegin) content_.drop_space();
      content_.skip_space();
    }
  }

  // The name is the header, or, where that says `function`, the line before the fence around the arguments.
  void announce(PieceSink& out, bool arguments) {
    std::string_view name = trimmed(lead_);
    const std::size_t fence = name.find("```");
    if (fence != std::string_view::npos) name = trimmed(name.substr(0, fence));
    if (name.empty()) name = trimmed(header_);
    if (numbered_) name = without_number(name);
    if (name.empty()) return give_up(out);
    out.put(ReplyPiece::Kind::kCall, name);
    raw_.clear();
    content_.skip_space();
    if (!arguments) {
      out.put(ReplyPiece::Kind::kArguments, "{}");
      at_ = At::kContent;
      return;
    }
    scan_ = {};
    at_ = At::kArguments;
    argument('{', out);
  }

  // functions.name:0
  static std::string_view without_number(std::string_view name) {
    static constexpr std::string_view kPrefix = "functions.";
    if (name.substr(0, kPrefix.size()) == kPrefix) name.remove_prefix(kPrefix.size());
    const std::size_t colon = name.rfind(':');
    return colon == std::string_view::npos ? name : name.substr(0, colon);
  }

  void argument(char c, PieceSink& out) {
    const auto step = scan_.push(c);
    if (step != JsonValueScan::Step::kBroken) out.put(ReplyPiece::Kind::kArguments, {&c, 1});
    if (step != JsonValueScan::Step::kMore) at_ = At::kBehind;
  }

  void give_up(PieceSink& out) {
    at_ = At::kContent;
    content_.put(std::exchange(raw_, {}), out);
  }

  MarkScan marks_;
  const bool numbered_;
  ContentOut content_;
  JsonValueScan scan_;
  At at_ = At::kContent;
  std::string raw_, header_, lead_;
};

}  // namespace

std::unique_ptr<ByteReader> marked_calls(ToolFormat format) {
  ReplyForm form;
  form.tools = format;
  std::vector<std::string> marks = form.marks();
  if (format == ToolFormat::kDeepseek) std::swap(marks[3], marks[4]);
  return std::make_unique<MarkedCalls>(std::move(marks), format == ToolFormat::kKimi);
}

}  // namespace foregate
