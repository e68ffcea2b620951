// The one table of routes: what exists, with which method, and who may use it. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace foregate {

enum class Access { kPublic, kKeyed };  // keyed: needs an API key when the server has any
enum class Endpoint {
  kHealth,
  kReady,
  kLive,
  kMetrics,
  kVersion,
  kModels,
  kModel,
  kChat,
  kCompletion,
  kResponses,
  kMessages,
  kCountTokens,
  kApplyTemplate,
  kTokenize,
  kDetokenize,
  kStats,
  kExperts,
  kPage
};

struct Route {
  std::string_view method;  // GET also answers HEAD
  std::string_view path;    // a last part of {id} takes the rest of the path
  Access access;
  Endpoint endpoint;
  bool needs_model;  // refused while the server is not ready
};

std::span<const Route> routes();

struct RouteMatch {
  const Route* route = nullptr;  // null: see `allow`
  std::string id;                // the rest that {id} took, percent-decoded
  std::string allow;             // methods of the path when the method was wrong; empty = no such path
};

RouteMatch match_route(std::string_view method, std::string_view path);

}  // namespace foregate
