// What a reply is made of once its text was read: reasoning, content, and calls of tools. A reader gets the text byte
// by byte, so that how it is cut into pieces on its way changes nothing. One sample, one thread.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace foregate {

struct ReplyPiece {
  enum class Kind {
    kReasoning,
    kContent,
    kCall,      // a call begins; the text is the tool's name
    kArguments  // more of the arguments of the last call, as JSON text
  };
  Kind kind = Kind::kContent;
  std::string text;
  bool operator==(const ReplyPiece&) const = default;
};

// Collects pieces; what follows something of its own kind is joined to it.
class PieceSink {
 public:
  void put(ReplyPiece::Kind kind, std::string_view text) {
    if (text.empty() && kind != ReplyPiece::Kind::kCall) return;
    if (pieces_.empty() || pieces_.back().kind != kind || kind == ReplyPiece::Kind::kCall) {
      pieces_.push_back({kind, std::string(text)});
    } else {
      pieces_.back().text += text;
    }
  }
  std::vector<ReplyPiece> take() { return std::exchange(pieces_, {}); }

 private:
  std::vector<ReplyPiece> pieces_;
};

class ByteReader {
 public:
  virtual ~ByteReader() = default;
  virtual void byte(char c, PieceSink& out) = 0;
  virtual void end(PieceSink& out) = 0;  // of the text; called once, the last
};

// A reader holds back no more than this; what is longer is not what it looked like.
inline constexpr std::size_t kMostHeldBytes = 64u << 10;
inline constexpr std::size_t kMostNameBytes = 256;

inline bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}
std::string_view trimmed(std::string_view text);

// Content on its way out. Space is held back until more text follows: before a call it belongs to the markup.
class ContentOut {
 public:
  void put(std::string_view text, PieceSink& out);
  void drop_space() { held_.clear(); }  // a call follows
  void skip_space() {                   // a call or reasoning came before
    held_.clear();
    skipping_ = true;
  }
  void end(PieceSink& out);

 private:
  std::string held_;
  bool skipping_ = false;
};

// Finds the first of several marks in a text; what may still become one is held back.
class MarkScan {
 public:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  explicit MarkScan(std::vector<std::string> marks) : marks_(std::move(marks)) {}
  // Appends to `text` what is certainly not part of a mark; gives the mark that is complete, else kNone.
  std::size_t push(char c, std::string& text);
  std::string rest() { return std::exchange(held_, {}); }
  const std::string& mark(std::size_t i) const { return marks_[i]; }

 private:
  std::vector<std::string> marks_;
  std::string held_;
};

}  // namespace foregate
