#include "engine/text/tokenizer_decoder.h"

#include <utility>

#include "engine/text/tokenizer_unicode.h"

namespace foregate::tok {
namespace {

std::string replace_matches(const std::string& token, const std::string& content, RegexScan* scan) {
  std::string out;
  scan->start(token);
  std::size_t done = 0, begin = 0, end = 0;
  while (scan->next(&begin, &end)) {
    out.append(token, done, begin - done).append(content);
    done = end;
  }
  return out.append(token, done, std::string::npos);
}

std::string replace_mark(const std::string& token, const std::string& mark, std::string_view content) {
  std::string out;
  std::size_t done = 0;
  for (std::size_t at = token.find(mark); at != std::string::npos; at = token.find(mark, done)) {
    out.append(token, done, at - done).append(content);
    done = at + mark.size();
  }
  return out.append(token, done, std::string::npos);
}

std::string strip_token(std::string token, const DecodeStep& step) {
  const std::string& mark = step.content;
  std::size_t begin = 0, end = token.size();
  for (std::size_t i = 0; i < step.start && token.compare(begin, mark.size(), mark) == 0; ++i) begin += mark.size();
  for (std::size_t i = 0; i < step.stop && end >= begin + mark.size(); ++i) {
    if (token.compare(end - mark.size(), mark.size(), mark) != 0) break;
    end -= mark.size();
  }
  return token.substr(begin, end - begin);
}

}  // namespace

std::optional<unsigned char> byte_token_value(std::string_view token) {
  if (token.size() != 6 || token.substr(0, 3) != "<0x" || token[5] != '>') return std::nullopt;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  const int high = token[3] == '+' ? 0 : digit(token[3]);  // the reference library's parser takes a plus sign
  const int low = digit(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<unsigned char>(high * 16 + low);
}

// A step of the run; hands tokens, or behind a joining step portions of the one text, to the next.
class DecodeRun::Stage {
 public:
  virtual ~Stage() = default;
  virtual void token(std::string text) = 0;
  virtual void finish() {
    if (next) next->finish();
  }
  Stage* next = nullptr;
};

class DecodeRun::Output : public Stage {
 public:
  void token(std::string text) override { out->append(text); }
  std::string* out = nullptr;
};

// Replace, Strip and Metaspace of single tokens.
class DecodeRun::PerToken : public Stage {
 public:
  explicit PerToken(const DecodeStep& step, bool always_first) : step_(step), always_first_(always_first) {
    if (step.pattern) scan_.emplace(*step.pattern);
  }
  void token(std::string text) override {
    switch (step_.kind) {
      case DecodeStep::Kind::kReplace: text = replace_matches(text, step_.content, &*scan_); break;
      case DecodeStep::Kind::kStrip: text = strip_token(std::move(text), step_); break;
      default:
        text = replace_mark(text, step_.content, step_.drop_first && (first_ || always_first_) ? "" : " ");
        break;
    }
    first_ = false;
    next->token(std::move(text));
  }

 private:
  const DecodeStep& step_;
  bool always_first_;  // behind a joining step there is only one token
  bool first_ = true;
  std::optional<RegexScan> scan_;
};

// ByteFallback: a run of byte tokens is one text if it is valid UTF-8 as a whole, and otherwise as
// many replacement characters; so the run must end before any of it can be given out.
class DecodeRun::Bytes : public Stage {
 public:
  void token(std::string text) override {
    if (const auto value = byte_token_value(text)) {
      run_.push_back(static_cast<char>(*value));
      return;
    }
    flush();
    next->token(std::move(text));
  }
  void finish() override {
    flush();
    next->finish();
  }

 private:
  void flush() {
    if (run_.empty()) return;
    std::string run = std::exchange(run_, {});
    if (utf8_first_error(run) == std::string::npos) {
      next->token(std::move(run));
      return;
    }
    for (std::size_t i = 0; i < run.size(); ++i) next->token(std::string(kReplacementUtf8));
  }
  std::string run_;
};

class DecodeRun::Level : public Stage {
 public:
  void token(std::string text) override {
    if (auto bytes = byte_level_decode(text)) text = std::move(*bytes);
    std::string whole;
    repair_.push(text, &whole);
    next->token(std::move(whole));
  }
  void finish() override {
    std::string rest;
    repair_.finish(&rest);
    next->token(std::move(rest));
    next->finish();
  }

 private:
  Utf8Repair repair_;
};

// No decoder in the file: tokens with a space between them.
class DecodeRun::Spaced : public Stage {
 public:
  void token(std::string text) override {
    next->token(first_ ? std::move(text) : " " + text);
    first_ = false;
  }

 private:
  bool first_ = true;
};

// Strip of the joined text: leading marks go at once, trailing ones are held until more text comes.
class DecodeRun::StripText : public Stage {
 public:
  explicit StripText(const DecodeStep& step) : step_(step) {}
  void token(std::string text) override {
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
      const std::string_view character = std::string_view(text).substr(i, utf8_length(text[i]));
      i += character.size();
      const bool mark = character == step_.content;
      if (mark && leading_ && removed_ < step_.start) {
        ++removed_;
        continue;
      }
      leading_ = false;
      if (mark && held_ < step_.stop) {
        ++held_;
        continue;
      }
      if (!mark) release(&out);
      out += character;
    }
    next->token(std::move(out));
  }

 private:
  void release(std::string* out) {
    for (; held_ > 0; --held_) *out += step_.content;
  }
  const DecodeStep& step_;
  bool leading_ = true;
  std::size_t removed_ = 0, held_ = 0;
};

DecodeRun::DecodeRun(const DecodeChain& chain) {
  bool joined = false;
  for (const DecodeStep& step : chain.steps()) {
    switch (step.kind) {
      case DecodeStep::Kind::kByteLevel: stages_.push_back(std::make_unique<Level>()); break;
      case DecodeStep::Kind::kByteFallback: stages_.push_back(std::make_unique<Bytes>()); break;
      case DecodeStep::Kind::kSpaced: stages_.push_back(std::make_unique<Spaced>()); break;
      case DecodeStep::Kind::kFuse: break;  // changes only how later steps see the text
      case DecodeStep::Kind::kStrip:
        if (joined) {
          stages_.push_back(std::make_unique<StripText>(step));
          break;
        }
        [[fallthrough]];
      default: stages_.push_back(std::make_unique<PerToken>(step, joined)); break;
    }
    joined = joined || step.kind == DecodeStep::Kind::kByteLevel || step.kind == DecodeStep::Kind::kFuse;
  }
  auto output = std::make_unique<Output>();
  output_ = output.get();
  stages_.push_back(std::move(output));
  for (std::size_t i = 0; i + 1 < stages_.size(); ++i) stages_[i]->next = stages_[i + 1].get();
}

DecodeRun::~DecodeRun() = default;

void DecodeRun::push(std::string_view token, std::string* out) {
  output_->out = out;
  stages_.front()->token(std::string(token));
}

void DecodeRun::finish(std::string* out) {
  output_->out = out;
  stages_.front()->finish();
}

Result<DecodeChain> DecodeChain::build(std::vector<DecodeStep> steps) {
  using Kind = DecodeStep::Kind;
  bool joined = false;
  for (const DecodeStep& step : steps) {
    if (joined && step.kind == Kind::kByteFallback) {
      return unimplemented("decoder ByteFallback behind Fuse or ByteLevel is not supported", "decoder");
    }
    if (joined && step.kind == Kind::kByteLevel) {
      return unimplemented("decoder ByteLevel behind Fuse or ByteLevel is not supported", "decoder");
    }
    if (joined && step.kind == Kind::kReplace && !step.one_character) {
      return unimplemented(
          "decoder Replace of more than one literal character behind Fuse or ByteLevel is not supported", "decoder");
    }
    joined = joined || step.kind == Kind::kByteLevel || step.kind == Kind::kFuse;
  }
  DecodeChain made;
  made.steps_ = std::move(steps);
  return made;
}

std::string DecodeChain::token_bytes(std::string_view token) const {
  using Kind = DecodeStep::Kind;
  std::string text(token);
  bool joined = false;
  for (const DecodeStep& step : steps_) {
    if (step.kind == Kind::kByteLevel) {
      if (auto bytes = byte_level_decode(text)) return *bytes;
    } else if (step.kind == Kind::kByteFallback) {
      if (const auto value = byte_token_value(text)) return std::string(1, static_cast<char>(*value));
    } else if (step.kind == Kind::kReplace) {
      RegexScan scan(*step.pattern);
      text = replace_matches(text, step.content, &scan);
    } else if (step.kind == Kind::kMetaspace) {
      text = replace_mark(text, step.content, joined && step.drop_first ? "" : " ");
    } else if (step.kind == Kind::kStrip && !joined) {
      text = strip_token(std::move(text), step);
    }
    joined = joined || step.kind == Kind::kFuse;
  }
  return text;
}

}  // namespace foregate::tok
