#include <utility>

#include "server/reply/readers.h"

namespace foregate {
namespace {

// Messages: <|start|>role<|channel|>name to=recipient <|constrain|>type<|message|>text<|end|>. The prompt ends behind
// the first role. https://cookbook.openai.com/articles/openai-harmony
class HarmonyReply final : public ByteReader {
 public:
  explicit HarmonyReply(bool calls) : calls_(calls) {}

  void byte(char c, PieceSink& out) override {
    std::string text;
    const std::size_t mark = marks_.push(c, text);
    for (const char one : text) plain(one, out);
    if (mark != MarkScan::kNone) marked(mark, out);
  }

  void end(PieceSink& out) override {
    for (const char one : marks_.rest()) plain(one, out);
    if (at_ == At::kHeader && !marked_) content_.put(header_, out);  // a reply without any markup
    close(out);
    content_.end(out);
  }

 private:
  enum class At { kHeader, kBody };
  enum class Kind { kReasoning, kContent, kCall };
  enum Mark : std::size_t { kStart, kChannel, kMessage, kConstrain, kEnd, kCallEnd, kReturn };

  void plain(char c, PieceSink& out) {
    if (at_ == At::kBody) return body(c, out);
    if (header_.size() < kMostNameBytes) header_ += c;
    static constexpr std::string_view kTo = " to=";
    const bool recipient = header_.compare(0, kTo.size(), kTo.substr(0, header_.size())) == 0;
    if (marked_ || recipient) return;
    kind_ = Kind::kContent;
    at_ = At::kBody;
    for (const char one : std::exchange(header_, {})) body(one, out);
  }

  void body(char c, PieceSink& out) {
    if (kind_ == Kind::kContent) return content_.put({&c, 1}, out);
    said_ = true;
    out.put(kind_ == Kind::kCall ? ReplyPiece::Kind::kArguments : ReplyPiece::Kind::kReasoning, {&c, 1});
  }

  void marked(std::size_t mark, PieceSink& out) {
    marked_ = true;
    if (mark == kMessage && at_ == At::kHeader) {
      open(out);
    } else if (mark == kChannel || mark == kConstrain) {
      if (at_ == At::kBody) close(out);
      if (header_.size() < kMostNameBytes) header_ += mark == kChannel ? '\1' : ' ';
    } else if (mark != kMessage) {
      close(out);
    }
  }

  // The header says what the text is: its channel, and who it is for.
  void open(PieceSink& out) {
    const std::string recipient = word_behind("to=");
    const std::size_t channel = header_.find('\1');
    const bool analysis = channel != std::string::npos && header_.compare(channel + 1, 8, "analysis") == 0;
    at_ = At::kBody;
    said_ = false;
    kind_ = !recipient.empty() && calls_ ? Kind::kCall : analysis ? Kind::kReasoning : Kind::kContent;
    header_.clear();
    if (kind_ == Kind::kCall) {
      static constexpr std::string_view kOwn = "functions.";
      const bool own = recipient.compare(0, kOwn.size(), kOwn) == 0;
      out.put(ReplyPiece::Kind::kCall, own ? recipient.substr(kOwn.size()) : recipient);
    }
    if (kind_ == Kind::kContent && spoke_) content_.put("\n", out);
    if (kind_ == Kind::kContent) spoke_ = true;
    if (kind_ == Kind::kReasoning && thought_) out.put(ReplyPiece::Kind::kReasoning, "\n");
    if (kind_ == Kind::kReasoning) thought_ = true;
  }

  std::string word_behind(std::string_view key) const {
    const std::size_t at = header_.find(key);
    if (at == std::string::npos) return {};
    const std::size_t begin = at + key.size();
    return header_.substr(begin, header_.find_first_of(" \1\n", begin) - begin);
  }

  void close(PieceSink& out) {
    if (at_ == At::kBody && kind_ == Kind::kCall && !said_) out.put(ReplyPiece::Kind::kArguments, "{}");
    at_ = At::kHeader;
    header_.clear();
  }

  MarkScan marks_{{"<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>", "<|call|>", "<|return|>"}};
  ContentOut content_;
  const bool calls_;
  At at_ = At::kHeader;
  Kind kind_ = Kind::kContent;
  std::string header_;
  bool marked_ = false;   // some markup was seen
  bool said_ = false;     // in this message
  bool spoke_ = false;    // content of an earlier message went out
  bool thought_ = false;  // the same of reasoning
};

}  // namespace

std::unique_ptr<ByteReader> harmony_reply(const ReplyForm& form) {
  return std::make_unique<HarmonyReply>(form.tools == ToolFormat::kHarmony);
}

}  // namespace foregate
