#include "engine/text/normalizer.h"

#include <utf8proc.h>

#include <utility>

#include "engine/text/tokenizer_unicode.h"

namespace foregate::tok {

NormalizedText untouched(std::string_view text, bool track) {
  NormalizedText made{std::string(text), {}};
  if (track) {
    made.origin.resize(text.size() + 1);
    for (std::size_t i = 0; i < made.origin.size(); ++i) made.origin[i] = i;
  }
  return made;
}

void NormalizedBuilder::copy(std::size_t begin, std::size_t end) {
  result_.text.append(source_.text, begin, end - begin);
  if (source_.tracked()) {
    const auto from = source_.origin.begin();
    result_.origin.insert(result_.origin.end(), from + static_cast<std::ptrdiff_t>(begin),
                          from + static_cast<std::ptrdiff_t>(end));
  }
}

void NormalizedBuilder::add(std::string_view bytes, std::size_t at) {
  result_.text.append(bytes);
  if (source_.tracked()) result_.origin.insert(result_.origin.end(), bytes.size(), source_.origin[at]);
}

NormalizedText NormalizedBuilder::finish() {
  if (source_.tracked()) result_.origin.push_back(source_.origin.back());
  return std::move(result_);
}

namespace {

// Lower case of characters newer than utf8proc's tables (Unicode 15 to 17), 0 for all others.
char32_t later_lowercase(char32_t c) {
  if (c >= 0x10D50 && c <= 0x10D65) return c + 0x20;
  if (c >= 0x16EA0 && c <= 0x16EB8) return c + 0x1B;
  switch (c) {
    case 0x1C89:
    case 0xA7CC:
    case 0xA7CE:
    case 0xA7D2:
    case 0xA7D4:
    case 0xA7DA: return c + 1;
    case 0xA7CB: return 0x264;
    case 0xA7DC: return 0x19B;
    default: return 0;
  }
}

class Lowercase : public Normalizer {
 public:
  Status apply(NormalizedText* text) const override {
    NormalizedBuilder builder(*text);
    std::string lower;
    for (std::size_t i = 0; i < text->text.size();) {
      const std::size_t begin = i;
      const char32_t c = utf8_next(text->text, &i);
      lower.clear();
      const char32_t later = later_lowercase(c);
      utf8_append(later ? later : static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), &lower);
      if (c == 0x130) lower = "i\xCC\x87";  // the one character whose lower case is two
      builder.add(lower, begin);
    }
    *text = builder.finish();
    return {};
  }
};

class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  Status apply(NormalizedText* text) const override {
    const std::string& source = text->text;
    std::size_t begin = source.size(), end = source.size();
    bool inside = false;
    for (std::size_t i = 0; i < source.size();) {
      const std::size_t at = i;
      if (is_space(utf8_next(source, &i))) continue;
      if (!inside) begin = at;
      inside = true;
      end = i;
    }
    if (!left_) begin = 0;
    if (!right_) end = source.size();
    NormalizedBuilder builder(*text);
    if (begin < end) builder.copy(begin, end);
    *text = builder.finish();
    return {};
  }

 private:
  bool left_, right_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  Status apply(NormalizedText* text) const override {
    if (text->text.empty()) return {};
    NormalizedBuilder builder(*text);
    builder.add(prefix_, 0);
    builder.copy(0, text->text.size());
    *text = builder.finish();
    return {};
  }

 private:
  std::string prefix_;
};

class Replace : public Normalizer {
 public:
  Replace(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  Status apply(NormalizedText* text) const override {
    if (text->text.empty()) return {};
    NormalizedBuilder builder(*text);
    RegexScan scan(pattern_);
    scan.start(text->text);
    std::size_t done = 0, begin = 0, end = 0;
    while (scan.next(&begin, &end)) {
      builder.copy(done, begin);
      builder.add(content_, begin);
      done = end;
    }
    RETURN_IF_ERROR(scan.status());
    builder.copy(done, text->text.size());
    *text = builder.finish();
    return {};
  }

 private:
  Regex pattern_;
  std::string content_;
};

class Sequence : public Normalizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Normalizer>> steps) : steps_(std::move(steps)) {}
  Status apply(NormalizedText* text) const override {
    for (const auto& step : steps_) RETURN_IF_ERROR(step->apply(text));
    return {};
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

}  // namespace

std::unique_ptr<Normalizer> make_lowercase() {
  return std::make_unique<Lowercase>();
}

std::unique_ptr<Normalizer> make_strip(bool left, bool right) {
  return std::make_unique<Strip>(left, right);
}

std::unique_ptr<Normalizer> make_prepend(std::string prefix) {
  return std::make_unique<Prepend>(std::move(prefix));
}

std::unique_ptr<Normalizer> make_replace(Regex pattern, std::string content) {
  return std::make_unique<Replace>(std::move(pattern), std::move(content));
}

std::unique_ptr<Normalizer> make_normalizer_sequence(std::vector<std::unique_ptr<Normalizer>> steps) {
  return std::make_unique<Sequence>(std::move(steps));
}

}  // namespace foregate::tok
