// Who may use the server: keys and other sites, read and checked once before it listens.
#pragma once

#include <string>

#include "engine/base/status.h"
#include "server/config/options.h"

namespace foregate {

// Adds the keys of --api-key-file and --admin-api-key-file to the options and checks every key and origin.
// kInvalidArgument names the option, and never a key.
Status settle_access(ServeOptions& options);

// Whether only this machine reaches an address that is listened on.
bool is_loopback(const std::string& host);

}  // namespace foregate
