// Between the values of client_types.h and the messages of the wire. Pure. Inner part of the client.
#pragma once

#include <foregate/v1/inference.pb.h>

#include <map>

#include "foregate/client_types.h"

namespace foregate::client {

v1::GenerateRequest to_wire(const GenerateRequest& request, bool stream);
v1::Chat to_wire(const Chat& chat);
Delta from_wire(v1::GenerateResponse&& message);
Tokens from_wire(const v1::TokenizeResponse& message);
Health from_wire(const v1::HealthCheckResponse& message);
ModelInfo from_wire(const v1::GetModelInfoResponse& message);
ServerInfo from_wire(const v1::GetServerInfoResponse& message);
Loads from_wire(const v1::GetLoadsResponse& message);

// Deltas of a call that has ended well, added up by choice.
class ReplyBuilder {
 public:
  void add(Delta&& delta);
  Reply take();

 private:
  std::map<std::int32_t, Choice> choices_;
  Reply reply_;
};

}  // namespace foregate::client
