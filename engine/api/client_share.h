// How a refusal that concerns one client only is told from one that concerns all. Plain data.
#pragma once

namespace foregate {

// Field of the kResourceExhausted of a client that has its share already, while others are served.
inline constexpr const char* kClientShareField = "client_share";
// The same of a client that asks more, or more often, than it may.
inline constexpr const char* kClientRateField = "client_rate";

}  // namespace foregate
