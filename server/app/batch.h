// `foregate batch`: the lines of OpenAI batch files through the engine, without a socket. Called by the program's main
// thread, which becomes the loop thread.
#pragma once

#include <string>
#include <vector>

#include "server/app/app.h"

namespace foregate {

struct BatchArguments {
  std::vector<std::string> inputs;  // "-": standard input
  std::string output;               // "-": standard output
  bool dry_run = false;             // checks every line and counts tokens; asks and writes nothing
  bool throughput = true;           // lines that begin the same are asked together
};

// What `foregate batch` begins with where nothing else is asked for: nobody waits for a single answer, so a step has as
// many sequences and rows as memory allows.
ServeOptions throughput_options();

// Exit code: 0 when every line has its answer, a fault included; 130 when a signal ended the run early; 2 when options,
// model or files are wrong; 1 otherwise.
int run_batch(const ServeOptions& options, const BatchArguments& arguments, const BackendLoader& loader);

}  // namespace foregate
