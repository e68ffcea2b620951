// JSON from a model directory, parsed with bounds: nesting depth, duplicate keys and trailing bytes
// are checked in a streaming pass before the tree is built. No exception leaves this folder.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "engine/base/status.h"

namespace foregate {

// Parses `text` into `out`. kDataLoss, with `label` (the file) in the message, when the text is not
// one JSON value, nests deeper than max_depth or repeats a key inside one object.
Status parse_checked_json(std::string_view text, int max_depth, std::string_view label, nlohmann::json& out);

// `text` cut to a length fit for an error message, control and non-ASCII bytes replaced by '?'.
std::string printable(std::string_view text);

}  // namespace foregate
