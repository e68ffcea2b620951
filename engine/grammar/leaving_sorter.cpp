#include "engine/grammar/leaving_sorter.h"

#include <algorithm>
#include <numeric>

namespace foregate::grammar {

std::string_view LeavingSorter::text(const LeavingTokens::Rest& rest) const {
  return std::string_view(trie_.vocabulary().tokens[static_cast<std::size_t>(rest.token)]).substr(rest.offset);
}

void LeavingSorter::add(std::int32_t token, const std::vector<std::uint16_t>& offsets) {
  std::vector<std::uint32_t> rests;
  for (const std::uint16_t offset : offsets) {
    const LeavingTokens::Rest rest{token, offset, 0};
    const auto [found, fresh] = by_text_.try_emplace(text(rest), static_cast<std::uint32_t>(rests_.size()));
    if (fresh) rests_.push_back(rest);
    rests.push_back(found->second);
  }
  by_rests_[std::move(rests)].push_back(token);
}

std::unique_ptr<LeavingTokens> LeavingSorter::sorted() {
  if (by_rests_.empty()) return nullptr;
  auto made = std::make_unique<LeavingTokens>();
  LeavingTokens& to = *made;
  std::vector<std::uint32_t> order(rests_.size()), place(rests_.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [this](std::uint32_t a, std::uint32_t b) { return text(rests_[a]) < text(rests_[b]); });
  std::string_view before;
  for (std::size_t i = 0; i < order.size(); ++i) {
    LeavingTokens::Rest rest = rests_[order[i]];
    const std::string_view now = text(rest);
    rest.shared = static_cast<std::uint16_t>(std::mismatch(before.begin(), before.end(), now.begin(), now.end()).first -
                                             before.begin());
    before = now;
    to.rests.push_back(rest);
    place[order[i]] = static_cast<std::uint32_t>(i);
  }
  const auto open = [&to] {
    to.alike.push_back({static_cast<std::uint32_t>(to.asked.size()), static_cast<std::uint32_t>(to.ids.size()), -1});
  };
  for (const auto& [rests, ids] : by_rests_) {
    open();
    for (const std::uint32_t rest : rests) to.asked.push_back(place[rest]);
    if (ids.size() > 2 * trie_.mask_words()) {
      to.alike.back().mask = static_cast<std::int32_t>(to.masks.size());
      set_bits(to.masks.emplace_back(trie_.mask_words(), 0), ids);
    } else {
      to.ids.insert(to.ids.end(), ids.begin(), ids.end());
    }
  }
  open();
  to.rests.shrink_to_fit();
  to.alike.shrink_to_fit();
  to.asked.shrink_to_fit();
  to.ids.shrink_to_fit();
  return made;
}

}  // namespace foregate::grammar
