#include "server/http/router.h"

#include <cctype>

namespace foregate {
namespace {

using A = Access;
using B = Body;
using E = Endpoint;

constexpr Route kRoutes[] = {
    {"GET", "/health", A::kPublic, E::kHealth, false, B::kNone, "Whether requests are taken", "", "Health", ""},
    {"GET", "/health/ready", A::kPublic, E::kReady, false, B::kNone, "The same", "", "Health", ""},
    {"GET", "/health/live", A::kPublic, E::kLive, false, B::kNone, "Whether a restart is needed", "", "Health", ""},
    {"GET", "/metrics", A::kKeyed, E::kMetrics, false, B::kNone, "Metrics for Prometheus", "", "text/plain", ""},
    {"GET", "/version", A::kKeyed, E::kVersion, false, B::kNone, "What runs here", "", "Version", ""},
    {"GET", "/openapi.json", A::kKeyed, E::kOpenapi, false, B::kNone, "This description", "", "Anything", ""},
    {"GET", "/v1/models", A::kKeyed, E::kModels, true, B::kNone, "The models", "", "ModelList", ""},
    {"GET", "/v1/models/{id}", A::kKeyed, E::kModel, true, B::kNone, "One model", "", "Model", ""},
    {"GET", "/v1/stats", A::kAdmin, E::kStats, true, B::kNone, "What the engine does now", "", "Stats", ""},
    {"GET", "/v1/experts", A::kAdmin, E::kExperts, true, B::kNone, "Where each expert is", "", "Experts", ""},
    {"GET", "/slots", A::kAdmin, E::kSlots, true, B::kNone, "What waits and runs now", "", "Slots", ""},
    {"GET", "/", A::kPublic, E::kPage, false, B::kNone, "The page", "", "text/html", ""},
    {"GET", "/ui/{id}", A::kPublic, E::kPage, false, B::kNone, "A file of the page", "", "*/*", ""},
    {"POST", "/v1/chat/completions", A::kKeyed, E::kChat, true, B::kJson, "Answers a chat", "ChatRequest",
     "ChatCompletion", "ChatChunk"},
    {"POST", "/v1/completions", A::kKeyed, E::kCompletion, true, B::kJson, "Continues texts", "CompletionRequest",
     "Completion", "CompletionChunk"},
    {"POST", "/v1/responses", A::kKeyed, E::kResponses, true, B::kJson, "Answers, as the Responses API has it",
     "ResponsesRequest", "Response", "Event"},
    {"POST", "/v1/messages", A::kKeyed, E::kMessages, true, B::kJson, "Answers, as the Messages API has it",
     "MessagesRequest", "Message", "Event"},
    {"POST", "/v1/messages/count_tokens", A::kKeyed, E::kCountTokens, true, B::kJson, "Counts tokens of messages",
     "CountTokensRequest", "TokenCount", ""},
    {"POST", "/apply-template", A::kKeyed, E::kApplyTemplate, true, B::kJson, "Renders a chat as the model reads it",
     "TemplateRequest", "RenderedPrompt", ""},
    {"POST", "/tokenize", A::kKeyed, E::kTokenize, true, B::kJson, "Text or messages to token ids", "TokenizeRequest",
     "Tokens", ""},
    {"POST", "/detokenize", A::kKeyed, E::kDetokenize, true, B::kJson, "Token ids to text", "DetokenizeRequest",
     "RenderedPrompt", ""},
    {"GET", "/v1/files", A::kKeyed, E::kFiles, true, B::kNone, "The files of this key", "", "FileList", ""},
    {"POST", "/v1/files", A::kKeyed, E::kFileUpload, true, B::kForm, "Uploads a file", "FileUpload", "File", ""},
    {"GET", "/v1/files/{id}/content", A::kKeyed, E::kFileContent, true, B::kNone, "What a file holds", "",
     "application/octet-stream", ""},
    {"GET", "/v1/files/{id}", A::kKeyed, E::kFile, true, B::kNone, "One file", "", "File", ""},
    {"DELETE", "/v1/files/{id}", A::kKeyed, E::kFileDelete, true, B::kNone, "Deletes a file", "", "Deleted", ""},
    {"GET", "/v1/batches", A::kKeyed, E::kBatches, true, B::kNone, "The batches of this key", "", "BatchList", ""},
    {"POST", "/v1/batches", A::kKeyed, E::kBatchCreate, true, B::kJson, "Begins a batch", "BatchRequest", "Batch", ""},
    {"POST", "/v1/batches/{id}/cancel", A::kKeyed, E::kBatchCancel, true, B::kNone, "Cancels a batch", "", "Batch", ""},
    {"GET", "/v1/batches/{id}", A::kKeyed, E::kBatch, true, B::kNone, "One batch", "", "Batch", ""},
};

constexpr std::string_view kIdPart = "{id}";

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const int lower = std::tolower(static_cast<unsigned char>(c));
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool path_matches(std::string_view pattern, std::string_view path, std::string* id) {
  const std::size_t at = pattern.find(kIdPart);
  if (at == std::string_view::npos) return path == pattern;
  const std::string_view before = pattern.substr(0, at), after = pattern.substr(at + kIdPart.size());
  if (path.size() <= before.size() + after.size() || !path.starts_with(before) || !path.ends_with(after)) return false;
  const std::string_view taken = path.substr(at, path.size() - before.size() - after.size());
  if (!after.empty() && taken.find('/') != std::string_view::npos) return false;
  *id = percent_decoded(taken);
  return true;
}

}  // namespace

std::span<const Route> routes() {
  return kRoutes;
}

bool is_file_route(Endpoint endpoint) {
  return endpoint >= Endpoint::kFiles;
}

RouteMatch match_route(std::string_view method, std::string_view path) {
  RouteMatch match;
  std::string_view first;  // pattern that the path belongs to
  for (const Route& route : kRoutes) {
    std::string id;
    if ((!first.empty() && route.path != first) || !path_matches(route.path, path, &id)) continue;
    first = route.path;
    if (method == route.method || (method == "HEAD" && route.method == "GET")) {
      match.route = &route;
      match.id = std::move(id);
      match.allow.clear();
      return match;
    }
    match.allow += route.method == "GET" ? "GET, HEAD, " : std::string(route.method) + ", ";
  }
  if (!match.allow.empty()) match.allow += "OPTIONS";
  return match;
}

}  // namespace foregate
