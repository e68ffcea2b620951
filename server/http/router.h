// The one table of routes: what exists, with which method, who may use it, and what /openapi.json says of it. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace foregate {

enum class Access {
  kPublic,
  kKeyed,  // needs an API key when the server has any
  kAdmin   // needs the admin key when the server has one, else any API key
};
enum class Endpoint {
  kHealth,
  kReady,
  kLive,
  kMetrics,
  kVersion,
  kOpenapi,
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
  kSlots,
  kPage,
  kFiles,
  kFileUpload,
  kFile,
  kFileDelete,
  kFileContent,
  kBatches,
  kBatchCreate,
  kBatch,
  kBatchCancel
};
enum class Body { kNone, kJson, kForm };  // what is sent; kForm: multipart/form-data

struct Route {
  std::string_view method;  // GET also answers HEAD
  std::string_view path;    // {id} takes one part of the path; as its last part the rest, with slashes
  Access access;
  Endpoint endpoint;
  bool needs_model;  // refused while the server is not ready
  Body body;
  std::string_view summary;
  std::string_view request;   // schema of the body, of openapi_schemas.inc; empty: none
  std::string_view response;  // schema of the answer, or its media type where it is not JSON
  std::string_view stream;    // schema of the events of a streamed answer; empty: it is never one
};

std::span<const Route> routes();
// Whether it is one of /v1/files and /v1/batches, which are there with --files-dir only.
bool is_file_route(Endpoint endpoint);

struct RouteMatch {
  const Route* route = nullptr;  // null: see `allow`
  std::string id;                // what {id} took, percent-decoded
  std::string allow;             // methods of the path when the method was wrong; empty = no such path
};

RouteMatch match_route(std::string_view method, std::string_view path);

}  // namespace foregate
