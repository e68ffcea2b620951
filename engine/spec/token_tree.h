// speculative_token_tree of --speculative-config: the ways to all nodes of a tree, each a list of ranks from the newest
// token on, as vLLM takes them: "[(0,), (1,), (0, 0), (0, 1)]", or the same as an array of arrays.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "engine/base/status.h"
#include "engine/spec/draft_tree.h"

namespace foregate {

// kInvalidArgument that says what of `value` is wrong, without the key's name before it; the order of the ways does not
// count.
Result<TreeShape> parse_token_tree(const nlohmann::json& value);

}  // namespace foregate
