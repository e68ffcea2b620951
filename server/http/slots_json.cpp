#include "server/http/slots_json.h"

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;
using ByIndex = std::map<std::pair<std::uint64_t, std::int32_t>, const LiveSample*>;

Json params_json(const ApiRequest& request, bool texts) {
  const SamplingParams& s = request.sampling;
  Json params = {{"n", request.n},
                 {"stream", request.stream},
                 {"max_tokens", s.max_tokens},
                 {"min_tokens", s.min_tokens},
                 {"temperature", s.temperature},
                 {"top_k", s.top_k},
                 {"top_p", s.top_p},
                 {"min_p", s.min_p},
                 {"repetition_penalty", s.repetition_penalty},
                 {"presence_penalty", s.presence_penalty},
                 {"frequency_penalty", s.frequency_penalty},
                 {"seed", nullptr},
                 {"logprobs", nullptr},
                 {"ignore_eos", s.ignore_eos},
                 {"logit_bias", s.logit_bias.size()},
                 {"allowed_token_ids", s.allowed_token_ids.size()},
                 {"bad_words", s.bad_words.size()},
                 {"stop", request.stop.size()},
                 {"structured", request.constraint != nullptr}};
  if (s.seed) params["seed"] = *s.seed;
  if (s.logprobs) params["logprobs"] = *s.logprobs;
  if (texts) params["stop"] = request.stop;
  return params;
}

double ms_since(TimeNs from, TimeNs now) {
  return static_cast<double>(now - from) * 1e-6;
}

// `sample` null: the engine has not looked at it yet.
Json slot_json(const OpenGeneration& open, std::size_t prompt, std::int32_t index, const LiveSample* sample,
               TimeNs now) {
  LiveSample unseen;
  unseen.request = RequestId{open.first_request_id + prompt};
  unseen.prompt_tokens = static_cast<std::int32_t>(open.request->prompts[prompt].size());
  const LiveSample& s = sample != nullptr ? *sample : unseen;
  const bool runs = s.state == SampleState::kPrefill || s.state == SampleState::kDecode;
  Json slot = {{"id", open.id},
               {"id_task", s.request.value},
               {"prompt_index", prompt},
               {"index", index},
               {"state", sample_state_name(s.state)},
               {"is_processing", runs},
               {"client", open.client},
               {"priority", open.request->priority},
               {"prompt_tokens", s.prompt_tokens},
               {"cached_tokens", s.cached_tokens},
               {"computed_tokens", s.computed},
               {"generated_tokens", s.generated},
               {"kv_blocks", s.kv_blocks},
               {"preemptions", s.preemptions},
               {"age_ms", ms_since(open.arrival, now)},
               {"queue_ms", nullptr}};
  if (s.first_run_at >= 0) slot["queue_ms"] = ms_since(open.arrival, s.first_run_at);
  return slot;
}

}  // namespace

Result<SlotsQuery> parse_slots_query(std::string_view query) {
  SlotsQuery parsed;
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(query.size(), end + 1));
    const std::size_t equals = std::min(pair.find('='), pair.size());
    if (pair.substr(0, equals) != "prompt") continue;
    const std::string_view value = pair.substr(std::min(pair.size(), equals + 1));
    if (value != "true" && value != "false") return invalid_argument("prompt must be true or false", "prompt");
    parsed.prompt = value == "true";
  }
  return parsed;
}

HttpResponse slots_response(const std::vector<OpenGeneration>& open, const std::vector<LiveSample>& live, TimeNs now,
                            const SlotsQuery& query, const ApiContext& context) {
  ByIndex known;
  for (const LiveSample& sample : live) known[{sample.request.value, sample.index}] = &sample;
  Json list = Json::array();
  for (const OpenGeneration& one : open) {
    const auto n = static_cast<std::size_t>(one.request->n);
    for (std::size_t choice = 0; choice < one.ended.size(); ++choice) {
      if (one.ended[choice]) continue;
      const std::size_t prompt = choice / n;
      const auto index = static_cast<std::int32_t>(choice % n);
      const auto found = known.find({one.first_request_id + prompt, index});
      Json slot = slot_json(one, prompt, index, found == known.end() ? nullptr : found->second, now);
      slot["n_ctx"] = context.limits.max_model_len;
      slot["params"] = params_json(*one.request, query.prompt);
      if (query.prompt) slot["prompt"] = context.tokenizer->decode(one.request->prompts[prompt], false);
      list.push_back(std::move(slot));
    }
  }
  HttpResponse response;
  response.headers.emplace_back("cache-control", "no-store");
  response.body = list.dump(-1, ' ', false, Json::error_handler_t::replace);
  return response;
}

}  // namespace foregate
