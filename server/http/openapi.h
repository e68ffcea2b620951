// /openapi.json: what this server serves, described from the table of routes (router.h), so that neither can be without
// the other. OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0). Pure.
#pragma once

#include <string>

#include "server/openai/api_request.h"

namespace foregate {

struct OpenapiFacts {
  std::string version;
  bool keys = false;                    // API keys are needed
  bool admin_key = false;               // so is the admin key, for its routes
  bool files = false;                   // /v1/files and /v1/batches are there
  bool page = true;                     // the page is
  bool slots = true;                    // /slots is
  const ApiContext* context = nullptr;  // names and limits of the model; null: it is loading, and they are left out
};

std::string openapi_text(const OpenapiFacts& facts);

}  // namespace foregate
