// foregate trace: what a model routes, recorded (record), replayed against other policies and budgets (replay), and
// summed up (show).
#include <cstdio>
#include <functional>
#include <string>
#include <utility>

#include "engine/runtime/expert_memory.h"
#include "tools/foregate/commands.h"
#include "tools/foregate/trace_commands.h"

namespace foregate {

Result<OpenTrace> open_trace(const std::string& path) {
  OpenTrace trace;
  ASSIGN_OR_RETURN(trace.file, local_files().open(path));
  ASSIGN_OR_RETURN(const TraceReader reader, TraceReader::open(*trace.file));
  trace.info = reader.info();
  return trace;
}

Status each_step(const OpenTrace& trace, const std::function<void(const TraceStep&)>& each) {
  ASSIGN_OR_RETURN(TraceReader reader, TraceReader::open(*trace.file));
  TraceStep step;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, reader.next(step));
    if (!more) return {};
    each(step);
  }
}

Result<std::uint64_t> budget_named(const std::string& word, const ExpertSizes& sizes) {
  ExpertMemoryFacts facts;
  for (const auto& [bytes, experts] : sizes) facts.expert_bytes += bytes * experts;
  const std::size_t digits = word.find_first_not_of("0123456789");
  if (digits != 0 && digits != std::string::npos && digits < 10) {
    const std::string unit = word.substr(word.find_first_not_of(' ', digits));
    if (unit == "slots" || unit == "slot") return budget_for_slots(sizes, std::stoull(word.substr(0, digits)));
  }
  if (word == "auto")
    return invalid_argument("a replay takes a share (40%), a size (4GiB) or slots (64slots)", "budget");
  const auto bytes = choose_expert_memory(word, facts);
  if (!bytes.ok()) return invalid_argument(bytes.status().message() + ", nor slots (64slots)", "budget");
  return bytes.value().value_or(facts.expert_bytes);
}

int trace_command(int argc, char** argv) {
  CLI::App app("What a model routes: record it, replay it against other policies and budgets, sum it up",
               "foregate trace");
  app.require_subcommand(1);
  RecordOptions record;
  ReplayArguments replay;
  ShowArguments show;
  CLI::App* recording = app.add_subcommand("record", "run a model on prompts and write what its MoE layers route to");
  CLI::App* replaying = app.add_subcommand("replay", "what policies and budgets would have hit");
  CLI::App* showing = app.add_subcommand("show", "a summary of a trace");
  add_record_options(*recording, record);
  add_replay_options(*replaying, replay);
  add_show_options(*showing, show);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int shown = app.exit(error);
    return shown == 0 ? 0 : 2;
  }
  Status status;
  if (recording->parsed()) status = run_record(record);
  if (replaying->parsed()) status = run_replay(replay);
  if (showing->parsed()) status = run_show(show);
  if (status.ok()) return 0;
  std::fprintf(stderr, "foregate trace: %s\n", status.to_string().c_str());
  return status.code() == Code::kInvalidArgument ? 2 : 1;
}

}  // namespace foregate
