// The tokens that a draft model computes logits of: a JSON array of their ids, in any order. A file of that name beside
// a draft model is used unless another one is asked for.
#pragma once

#include <string>
#include <vector>

#include "engine/api/types.h"
#include "engine/base/status.h"
#include "engine/io/file.h"

namespace foregate {

inline constexpr const char* kTokenMapFile = "token_map.json";

// In ascending order. kInvalidArgument, field speculative_config, names the file and what is wrong with it: no array of
// ids, an id twice, one that is not below `vocab_size`, none at all, more bytes than kMaxTokenMapBytes.
Result<std::vector<Token>> read_token_map(const FileSystem& files, const std::string& path, std::int32_t vocab_size);

}  // namespace foregate
