// Finds the first of several stop strings in a text that arrives in pieces. What could still become
// a match is held back; how the text is cut into pieces changes nothing. One sample, one thread.
// Matching is Knuth-Morris-Pratt per string (SIAM J. Comput. 1977): constant work per byte and string.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace foregate {

class StopMatcher {
 public:
  StopMatcher(std::vector<std::string> stops, bool include_match);
  // Text that is now certain. After a match nothing more comes out.
  std::string push(std::string_view text);
  std::string finish();  // the end of the text: gives what was held back
  bool matched() const { return match_ != kNone; }
  const std::string& match() const;  // the string that matched; only when matched()

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  struct Pattern {
    std::string text;
    std::vector<std::size_t> fallback;  // [i]: longest border of the first i bytes
    std::size_t state = 0;              // bytes of `text` that the end of the input matches
  };
  static std::size_t step(const Pattern& pattern, char c);

  std::vector<Pattern> patterns_;
  std::string held_;
  std::size_t match_ = kNone;
  bool include_match_;
};

}  // namespace foregate
