// Entry of the one program: picks the subcommand.
#include <cstdio>
#include <string>

#include "tools/foregate/commands.h"

namespace {

struct Command {
  const char* name;
  const char* help;
  int (*run)(int argc, char** argv);
};

constexpr Command kCommands[] = {
    {"serve", "serve a model over an OpenAI-compatible HTTP API", foregate::serve_command},
    {"batch", "answer the lines of OpenAI batch files, offline", foregate::batch_command},
    {"chat", "talk to a model in the terminal", foregate::chat_command},
    {"inspect", "show a model's architecture, sizes and memory plan", foregate::inspect_command},
    {"pack", "write a model so that loading it is reading it", foregate::pack_command},
    {"trace", "record what a model routes, replay it, sum it up", foregate::trace_command},
    {"place", "choose which rank holds which expert", foregate::place_command},
    {"scale", "predict decode steps on many GPUs that share experts", foregate::scale_command},
    {"rank", nullptr, foregate::rank_command},  // started by serve, not by people
    {"bench", "measure prefill and decode speed; bench serve: of any server", foregate::bench_command},
    {"health", "ask a running server how it is", foregate::health_command},
};

void print_usage(std::FILE* out) {
  std::fputs("Usage: foregate COMMAND [options]\n\nCommands:\n", out);
  for (const Command& command : kCommands) {
    if (command.help != nullptr) std::fprintf(out, "  %-8s %s\n", command.name, command.help);
  }
  std::fputs("\nforegate COMMAND --help explains one of them.\n", out);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "";
  for (const Command& command : kCommands) {
    if (name == command.name) return command.run(argc - 1, argv + 1);
  }
  if (name == "--version" || name == "version") return std::printf("foregate %s\n", FOREGATE_VERSION), 0;
  if (name == "--help" || name == "-h" || name == "help") return print_usage(stdout), 0;
  if (!name.empty()) std::fprintf(stderr, "foregate: there is no command \"%s\"\n\n", name.c_str());
  print_usage(stderr);
  return 2;
}
