#include "server/stream/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"

namespace foregate {

StopMatcher::StopMatcher(std::vector<std::string> stops, bool include_match) : include_match_(include_match) {
  for (std::string& stop : stops) {
    CHECK(!stop.empty());
    Pattern pattern;
    pattern.fallback.assign(stop.size() + 1, 0);
    std::size_t border = 0;
    for (std::size_t i = 1; i < stop.size(); ++i) {
      while (border > 0 && stop[i] != stop[border]) border = pattern.fallback[border];
      if (stop[i] == stop[border]) ++border;
      pattern.fallback[i + 1] = border;
    }
    pattern.text = std::move(stop);
    patterns_.push_back(std::move(pattern));
  }
}

std::size_t StopMatcher::step(const Pattern& pattern, char c) {
  std::size_t state = pattern.state;
  while (state > 0 && pattern.text[state] != c) state = pattern.fallback[state];
  return pattern.text[state] == c ? state + 1 : 0;
}

// Of strings that end at the same byte the longest wins.
std::string StopMatcher::push(std::string_view text) {
  if (matched()) return {};
  if (patterns_.empty()) return std::string(text);
  for (char c : text) {
    held_ += c;
    for (std::size_t i = 0; i < patterns_.size(); ++i) {
      Pattern& pattern = patterns_[i];
      pattern.state = step(pattern, c);
      const bool whole = pattern.state == pattern.text.size();
      if (whole && (!matched() || pattern.text.size() > patterns_[match_].text.size())) match_ = i;
    }
    if (matched()) {
      std::string out = std::exchange(held_, {});
      if (!include_match_) out.resize(out.size() - patterns_[match_].text.size());
      return out;
    }
  }
  std::size_t keep = 0;
  for (const Pattern& pattern : patterns_) keep = std::max(keep, pattern.state);
  std::string out = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return out;
}

std::string StopMatcher::finish() {
  return std::exchange(held_, {});
}

const std::string& StopMatcher::match() const {
  CHECK(matched());
  return patterns_[match_].text;
}

}  // namespace foregate
