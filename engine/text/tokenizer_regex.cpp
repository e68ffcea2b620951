#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/text/tokenizer_regex.h"

#include <pcre2.h>

#include "engine/text/tokenizer_unicode.h"

namespace foregate::tok {
namespace {

constexpr std::uint32_t kMatchLimit = 20'000'000;  // steps of one search
constexpr std::uint32_t kHeapLimitKib = 256 * 1024;
constexpr std::size_t kMaxPatternBytes = 64 * 1024;

std::string error_text(int code) {
  PCRE2_UCHAR buffer[160] = {};
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  pcre2_match_context* context = nullptr;
  bool jit = false;
  ~Code() {
    pcre2_match_context_free(context);
    pcre2_code_free(code);
  }
};

Result<Regex> Regex::compile(std::string_view pattern, const std::string& field) {
  if (pattern.size() > kMaxPatternBytes) return data_loss(field + ": the pattern is longer than 64 KiB", field);
  auto translated = translate_pattern(pattern);
  if (!translated.ok()) {
    return Status(translated.status().code(), field + ": " + translated.status().message(), field);
  }
  return compile_translated(*translated, field);
}

Result<Regex> Regex::literal(std::string_view text, const std::string& field) {
  if (text.size() > kMaxPatternBytes / 8) return data_loss(field + ": the pattern is longer than 8 KiB", field);
  return compile_translated(literal_pattern(text), field);
}

Result<Regex> Regex::compile_translated(const std::string& pattern, const std::string& field) {
  auto made = std::make_shared<Code>();
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_compile_context* settings = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(settings, PCRE2_NEWLINE_LF);
  made->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, settings);
  pcre2_compile_context_free(settings);
  if (made->code == nullptr) {
    return data_loss(field + ": the regular expression does not compile: " + error_text(error), field);
  }
  made->jit = pcre2_jit_compile(made->code, PCRE2_JIT_COMPLETE) == 0;
  made->context = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(made->context, kMatchLimit);
  pcre2_set_heap_limit(made->context, kHeapLimitKib);
  return Regex(std::move(made));
}

RegexScan::RegexScan(const Regex& regex)
    : code_(regex.code_), match_data_(pcre2_match_data_create_from_pattern(code_->code, nullptr)) {}

RegexScan::~RegexScan() {
  pcre2_match_data_free(static_cast<pcre2_match_data*>(match_data_));
}

void RegexScan::start(std::string_view subject) {
  subject_ = subject;
  from_ = 0;
  last_end_ = std::string_view::npos;
}

bool RegexScan::search(std::size_t* begin, std::size_t* end) {
  auto* data = static_cast<pcre2_match_data*>(match_data_);
  const auto run = [&](std::uint32_t options) {
    return pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(subject_.data()), subject_.size(), from_,
                       options | PCRE2_NO_UTF_CHECK, data, code_->context);
  };
  int found = run(0);
  if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = run(PCRE2_NO_JIT);  // the interpreter keeps its frames on the heap
  if (found >= 0) {
    const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(data);
    *begin = offsets[0];
    *end = offsets[1];
    return true;
  }
  if (found != PCRE2_ERROR_NOMATCH) {
    status_ = resource_exhausted("tokenizing this text ran past the pattern's bound: " + error_text(found));
  }
  return false;
}

bool RegexScan::next(std::size_t* begin, std::size_t* end) {
  while (status_.ok() && from_ <= subject_.size() && search(begin, end)) {
    if (*begin == *end && *end == last_end_) {
      from_ += from_ < subject_.size() ? utf8_length(subject_[from_]) : 1;
      continue;
    }
    from_ = *end;
    last_end_ = *end;
    return true;
  }
  return false;
}

}  // namespace foregate::tok
