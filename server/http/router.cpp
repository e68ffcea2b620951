#include "server/http/router.h"

#include <cctype>

namespace foregate {
namespace {

constexpr Route kRoutes[] = {
    {"GET", "/health", Access::kPublic, Endpoint::kHealth, false},
    {"GET", "/health/ready", Access::kPublic, Endpoint::kReady, false},
    {"GET", "/health/live", Access::kPublic, Endpoint::kLive, false},
    {"GET", "/metrics", Access::kKeyed, Endpoint::kMetrics, false},
    {"GET", "/version", Access::kKeyed, Endpoint::kVersion, false},
    {"GET", "/v1/models", Access::kKeyed, Endpoint::kModels, true},
    {"GET", "/v1/models/{id}", Access::kKeyed, Endpoint::kModel, true},
    {"GET", "/v1/stats", Access::kKeyed, Endpoint::kStats, true},
    {"GET", "/v1/experts", Access::kKeyed, Endpoint::kExperts, true},
    {"GET", "/", Access::kPublic, Endpoint::kPage, false},
    {"GET", "/ui/{id}", Access::kPublic, Endpoint::kPage, false},
    {"POST", "/v1/chat/completions", Access::kKeyed, Endpoint::kChat, true},
    {"POST", "/v1/completions", Access::kKeyed, Endpoint::kCompletion, true},
    {"POST", "/v1/responses", Access::kKeyed, Endpoint::kResponses, true},
    {"POST", "/v1/messages", Access::kKeyed, Endpoint::kMessages, true},
    {"POST", "/v1/messages/count_tokens", Access::kKeyed, Endpoint::kCountTokens, true},
    {"POST", "/apply-template", Access::kKeyed, Endpoint::kApplyTemplate, true},
    {"POST", "/tokenize", Access::kKeyed, Endpoint::kTokenize, true},
    {"POST", "/detokenize", Access::kKeyed, Endpoint::kDetokenize, true},
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
  if (pattern.size() < kIdPart.size() || pattern.substr(pattern.size() - kIdPart.size()) != kIdPart) {
    return path == pattern;
  }
  const std::string_view prefix = pattern.substr(0, pattern.size() - kIdPart.size());
  if (path.size() <= prefix.size() || path.substr(0, prefix.size()) != prefix) return false;
  *id = percent_decoded(path.substr(prefix.size()));
  return true;
}

}  // namespace

std::span<const Route> routes() {
  return kRoutes;
}

RouteMatch match_route(std::string_view method, std::string_view path) {
  RouteMatch match;
  for (const Route& route : kRoutes) {
    std::string id;
    if (!path_matches(route.path, path, &id)) continue;
    if (method == route.method || (method == "HEAD" && route.method == "GET")) {
      match.route = &route;
      match.id = std::move(id);
      return match;
    }
    match.allow = route.method == "GET" ? "GET, HEAD, OPTIONS" : std::string(route.method) + ", OPTIONS";
  }
  return match;
}

}  // namespace foregate
