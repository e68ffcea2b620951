// foregate batch MODEL -i IN -o OUT: the lines of OpenAI batch files, offline.
#include <cstdio>
#include <string>
#include <vector>

#include "server/app/batch.h"
#include "server/config/options.h"
#include "tools/foregate/commands.h"

namespace foregate {
namespace {

constexpr const char* kHelp =
    "Usage: foregate batch MODEL -i IN.jsonl [-i MORE.jsonl.gz] -o OUT.jsonl [options]\n\n"
    "Answers every line of OpenAI's batch format (custom_id, method, url, body). Lines with faults give lines with an\n"
    "error. A run that was broken off goes on where it stopped when it is started again with the same files.\n\n"
    "  -i, --input-file FILE    may be given again; plain, gzip or zstd; - is standard input\n"
    "  -o, --output-file FILE   - is standard output; written as it is, so not named .gz or .zst\n"
    "  --dry-run                check every line, count tokens, ask nothing\n"
    "  --no-throughput          batches and order as `foregate serve` has them; otherwise --max-num-seqs and\n"
    "                           --max-num-batched-tokens are 0 and lines that begin the same are asked together\n\n"
    "and every option of `foregate serve` that is not about sockets:\n\n";

// Takes the words that are of this command; the others stay. False when a value is missing.
bool split(int argc, char** argv, BatchArguments& arguments, std::vector<char*>& others) {
  others.push_back(argv[0]);
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const std::size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const bool input = name == "-i" || name == "--input-file", output = name == "-o" || name == "--output-file";
    if (word == "--dry-run") {
      arguments.dry_run = true;
    } else if (word == "--throughput" || word == "--no-throughput") {
      arguments.throughput = word == "--throughput";
    } else if (input || output) {
      if (equals == std::string::npos && i + 1 == argc) return false;
      const std::string value = equals == std::string::npos ? argv[++i] : word.substr(equals + 1);
      if (input) arguments.inputs.push_back(value);
      if (output) arguments.output = value;
    } else {
      others.push_back(argv[i]);
    }
  }
  return true;
}

int wrong(const char* what) {
  std::fprintf(stderr, "foregate batch: %s\n(foregate batch --help lists all options)\n", what);
  return 2;
}

}  // namespace

int batch_command(int argc, char** argv) {
  BatchArguments arguments;
  std::vector<char*> others;
  if (!split(argc, argv, arguments, others)) return wrong("the last option needs a value");
  const ServeOptions defaults = arguments.throughput ? throughput_options() : ServeOptions{};
  const auto parsed =
      parse_serve_options(static_cast<int>(others.size()), others.data(), process_environment(), defaults);
  if (!parsed.ok()) return wrong(parsed.status().message().c_str());
  if (parsed->help) return std::fputs((kHelp + serve_help()).c_str(), stdout), 0;
  if (parsed->options.model.empty()) return wrong("no model given; usage: foregate batch MODEL -i IN -o OUT");
  if (arguments.inputs.empty()) return wrong("-i, --input-file is missing");
  if (arguments.output.empty() && !arguments.dry_run) return wrong("-o, --output-file is missing");
  if (arguments.output.ends_with(".gz") || arguments.output.ends_with(".zst")) {
    return wrong("-o, --output-file: answers are appended as they are, not compressed; name it without .gz or .zst");
  }
  return run_batch(parsed->options, arguments, engine_loader());
}

}  // namespace foregate
