// Normalizers of tokenizer.json: text to text, before it is split. Immutable; safe to share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/text/tokenizer_regex.h"

namespace foregate::tok {

// A text and, where asked for, for each of its bytes the offset of the byte it came from.
struct NormalizedText {
  std::string text;
  std::vector<std::size_t> origin;  // text.size() + 1 entries when tracked, otherwise empty
  bool tracked() const { return !origin.empty(); }
};

// Starts a text as itself.
NormalizedText untouched(std::string_view text, bool track);

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual Status apply(NormalizedText* text) const = 0;
};

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

std::unique_ptr<Normalizer> make_unicode_normalizer(UnicodeForm form);
std::unique_ptr<Normalizer> make_lowercase();
std::unique_ptr<Normalizer> make_strip(bool left, bool right);
std::unique_ptr<Normalizer> make_prepend(std::string prefix);
std::unique_ptr<Normalizer> make_replace(Regex pattern, std::string content);
std::unique_ptr<Normalizer> make_normalizer_sequence(std::vector<std::unique_ptr<Normalizer>> steps);

// Builds a NormalizedText front to back from pieces of another one.
class NormalizedBuilder {
 public:
  explicit NormalizedBuilder(const NormalizedText& source) : source_(source) {
    result_.text.reserve(source.text.size() + 16);
  }
  // Copies source bytes [begin, end).
  void copy(std::size_t begin, std::size_t end);
  // Adds new bytes that stand for the source at byte `at`.
  void add(std::string_view bytes, std::size_t at);
  NormalizedText finish();

 private:
  const NormalizedText& source_;
  NormalizedText result_;
};

}  // namespace foregate::tok
