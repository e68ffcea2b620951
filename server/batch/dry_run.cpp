#include "server/batch/dry_run.h"

#include "server/batch/batch_line.h"

namespace foregate {
namespace {

constexpr std::size_t kShownFaults = 20;

Status count(std::string_view text, const ApiContext& context, std::uint64_t seed, DryRun& counted) {
  std::string custom_id;
  ASSIGN_OR_RETURN(const BatchLine line, parse_batch_line(text, seed, &custom_id));
  if (line.url == "/tokenize") return tokenize_body(line.body, context).status();
  if (line.url == "/detokenize") return detokenize_body(line.body, context).status();
  const bool chat = line.url == "/v1/chat/completions";
  ASSIGN_OR_RETURN(const ApiRequest request,
                   chat ? parse_chat_request(line.body, context) : parse_completion_request(line.body, context));
  for (const auto& prompt : request.prompts) counted.prompt_tokens += prompt.size();
  counted.most_completion_tokens += static_cast<std::uint64_t>(request.sampling.max_tokens) *
                                    static_cast<std::uint64_t>(request.n) * request.prompts.size();
  return {};
}

}  // namespace

Result<DryRun> dry_run(LineSource& source, const ApiContext& context, std::uint64_t seed) {
  DryRun counted;
  for (std::uint64_t position = 1;; ++position) {
    auto line = source.next();
    if (!line.ok() && line.status().code() != Code::kInvalidArgument) return line.status();
    if (line.ok() && !line->has_value()) return counted;
    if (line.ok() && (*line)->find_first_not_of(" \t") == std::string::npos) continue;
    const Status status = line.ok() ? count(**line, context, seed, counted) : line.status();
    ++counted.requests;
    if (status.ok()) continue;
    ++counted.fault_count;
    if (counted.faults.size() < kShownFaults) {
      counted.faults.push_back("line " + std::to_string(position) + ": " + status.message());
    }
  }
}

std::string dry_run_text(const DryRun& counted) {
  std::string text;
  for (const std::string& fault : counted.faults) text += fault + "\n";
  if (counted.fault_count > counted.faults.size()) {
    text += "and " + std::to_string(counted.fault_count - counted.faults.size()) + " more\n";
  }
  return text + std::to_string(counted.requests) + " requests, " + std::to_string(counted.fault_count) +
         " of them faulty; " + std::to_string(counted.prompt_tokens) + " prompt tokens, at most " +
         std::to_string(counted.most_completion_tokens) + " completion tokens\n";
}

}  // namespace foregate
