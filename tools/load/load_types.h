// What a load generator sends and what it saw, as plain values. Any thread.
#pragma once

#include <string>
#include <vector>

namespace foregate {

struct LoadRequest {
  std::string input{};     // JSON fields of the body that hold the prompt: `"prompt": ...` or `"messages": ...`
  int output_tokens = 0;   // asked for; 0: what the server does by itself
  double at_seconds = -1;  // when it is sent, from the start; below 0: the arrival process decides
};

// Of one request; seconds.
struct LoadOutcome {
  bool ok = false;
  std::string error{};
  double sent_at = 0;          // from the start of the run
  double first_token = 0;      // after it was sent
  double end = 0;              // after it was sent
  std::vector<double> gaps{};  // between pieces of the stream
  int input_tokens = 0;        // as the server counts them
  int output_tokens = 0;
  bool counted = false;  // the server said how many; else pieces are counted
};

}  // namespace foregate
