#include "engine/runtime/rank_setup.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace foregate {

namespace {

bool read_budgets(const nlohmann::json& json, std::vector<std::uint64_t>& budgets) {
  const auto found = json.find("expert_bytes");
  if (found == json.end() || !found->is_array() || found->size() > static_cast<std::size_t>(kMaxRanks)) return false;
  for (const nlohmann::json& bytes : *found) {
    if (!bytes.is_number_unsigned()) return false;
    budgets.push_back(bytes.get<std::uint64_t>());
  }
  return true;
}

}  // namespace

std::vector<std::byte> setup_bytes(const RankSetup& setup) {
  const nlohmann::json json = {{"model", setup.model},
                               {"quantization", setup.quantization},
                               {"isa", setup.isa},
                               {"threads", setup.threads},
                               {"verify_weights", setup.verify_weights},
                               {"max_rows", setup.max_rows},
                               {"rank", setup.rank},
                               {"expert_bytes", setup.expert_bytes},
                               {"expert_policy", setup.expert_policy},
                               {"expert_warm", setup.expert_warm},
                               {"prompt_read_ahead", setup.prompt_read_ahead},
                               {"rows_move", setup.rows_move},
                               {"halves", setup.halves},
                               {"on_gpu", setup.on_gpu},
                               {"cuda_module", setup.cuda_module},
                               {"calls_peers", setup.calls_peers},
                               {"nccl_library", setup.nccl_library},
                               {"plan", setup.plan}};
  const std::string text = json.dump();
  const auto* const data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

Result<RankSetup> parse_setup(std::span<const std::byte> bytes) {
  const auto* const data = reinterpret_cast<const char*>(bytes.data());
  const auto json = nlohmann::json::parse(data, data + bytes.size(), nullptr, false);
  if (!json.is_object()) return data_loss("the setup of a rank is not a JSON object");
  RankSetup setup;
  const auto field = [&json](const char* name, auto& value, bool (nlohmann::json::*is)() const noexcept) {
    const auto found = json.find(name);
    if (found == json.end() || !((*found).*is)()) return false;
    found->get_to(value);
    return true;
  };
  const auto is_text = &nlohmann::json::is_string;
  const auto is_count = &nlohmann::json::is_number_unsigned;
  const auto is_switch = &nlohmann::json::is_boolean;
  const bool stored =
      field("expert_policy", setup.expert_policy, is_text) && field("expert_warm", setup.expert_warm, is_switch) &&
      field("prompt_read_ahead", setup.prompt_read_ahead, is_switch) && read_budgets(json, setup.expert_bytes);
  const bool placed = field("on_gpu", setup.on_gpu, is_switch) && field("cuda_module", setup.cuda_module, is_text) &&
                      field("calls_peers", setup.calls_peers, is_switch) &&
                      field("nccl_library", setup.nccl_library, is_text);
  const bool whole =
      stored && placed && field("model", setup.model, is_text) && field("quantization", setup.quantization, is_text) &&
      field("isa", setup.isa, is_text) && field("threads", setup.threads, is_count) &&
      field("verify_weights", setup.verify_weights, is_switch) && field("max_rows", setup.max_rows, is_count) &&
      field("rank", setup.rank, is_count) && field("plan", setup.plan, is_text) &&
      field("rows_move", setup.rows_move, is_switch) && field("halves", setup.halves, is_switch);
  if (!whole || setup.max_rows < 1 || setup.rank < 1 || setup.threads < 1) {
    return data_loss("the setup of a rank lacks a field");
  }
  return setup;
}

}  // namespace foregate
