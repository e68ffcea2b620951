// Regular expressions of tokenizer.json. Published files are written for Oniguruma (Ruby syntax);
// they are translated to PCRE2 and run there with bounds on steps and heap, never on the call stack.
// A compiled Regex is immutable and safe to share; a RegexScan belongs to one thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace foregate::tok {

// The PCRE2 spelling of an Oniguruma pattern. kUnimplemented names a construct that is not
// supported, kDataLoss a broken pattern; both with the offset.
Result<std::string> translate_pattern(std::string_view pattern);

// The PCRE2 spelling of a literal text.
std::string literal_pattern(std::string_view text);

class Regex {
 public:
  // `field` names the place in tokenizer.json in errors.
  static Result<Regex> compile(std::string_view pattern, const std::string& field);
  static Result<Regex> literal(std::string_view text, const std::string& field);

 private:
  friend class RegexScan;
  struct Code;
  explicit Regex(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  static Result<Regex> compile_translated(const std::string& pattern, const std::string& field);
  std::shared_ptr<const Code> code_;
};

// Finds the matches of one subject after another, left to right, the way Oniguruma's find_iter
// does: an empty match right after the match before it is passed over.
class RegexScan {
 public:
  explicit RegexScan(const Regex& regex);
  ~RegexScan();
  RegexScan(const RegexScan&) = delete;
  RegexScan& operator=(const RegexScan&) = delete;

  // `subject` must be valid UTF-8 and outlive the scan of it.
  void start(std::string_view subject);
  // False at the end of the subject; then status() says whether a bound was hit.
  bool next(std::size_t* begin, std::size_t* end);
  const Status& status() const { return status_; }

 private:
  bool search(std::size_t* begin, std::size_t* end);
  std::shared_ptr<const Regex::Code> code_;
  void* match_data_;
  std::string_view subject_;
  std::size_t from_ = 0;
  std::size_t last_end_ = std::string_view::npos;
  Status status_;
};

}  // namespace foregate::tok
