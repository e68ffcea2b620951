// Peers by NCCL: grouped send and receive on a stream of their own. Owned by who joined; one thread.
#pragma once

#include <memory>
#include <string>

#include "kernels/api/peers.h"

namespace foregate {

// Null with *error.
std::unique_ptr<Peers> join_nccl_peers(const PeersOptions& options, std::string* error);
bool make_nccl_id(const std::string& library, PeerId* id, std::string* error);

}  // namespace foregate
