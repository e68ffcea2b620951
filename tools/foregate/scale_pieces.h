// What the ranks of a model do, piece by piece, measured alone: an expert, each further row of it, a message between
// two processes. One thread computes, one asks, as rank 0 and another do. For scale_check.h.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/rank_experts.h"
#include "engine/placement/scale.h"
#include "kernels/registry/registry.h"

namespace foregate {

class ScalePieces {
 public:
  // Loads all experts of the model. kInvalidArgument (field model) for one without.
  static Result<std::unique_ptr<ScalePieces>> open(const std::string& model, std::int32_t max_rows);
  // A tenth of a second or so.
  Result<StarRanks> measure();

 private:
  Result<double> answer(std::int32_t experts, std::int32_t rows);
  ExpertRows question(LayerId layer, std::int32_t first, std::int32_t experts, std::int32_t rows) const;

  Backend backend_;
  std::unique_ptr<Stream> stream_;
  std::optional<OpenModel> model_;
  std::unique_ptr<RankExperts> rank_;
  std::vector<LayerId> layers_;  // with experts
  StarRanks star_;               // its dimensions
};

}  // namespace foregate
