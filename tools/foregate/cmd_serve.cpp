#include <cstdio>
#include <string>

#include "server/app/app.h"
#include "server/config/limits_table.h"
#include "server/config/options.h"
#include "tools/foregate/commands.h"

namespace foregate {

int serve_command(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--print-default-config") return std::fputs(default_yaml().c_str(), stdout), 0;
    if (word == "--print-limits") return std::fputs(limits_markdown().c_str(), stdout), 0;
  }
  const auto parsed = parse_serve_options(argc, argv, process_environment());
  if (!parsed.ok()) {
    std::fprintf(stderr, "foregate serve: %s\n(foregate serve --help lists all options)\n",
                 parsed.status().message().c_str());
    return 2;
  }
  if (parsed.value().help) {
    std::fputs(serve_help().c_str(), stdout);
    return 0;
  }
  return run_server(parsed.value().options, engine_loader());
}

}  // namespace foregate
