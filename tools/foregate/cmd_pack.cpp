// foregate pack MODEL OUT: writes a model in the layout that the kernels compute with, so that loading is reading; or,
// with --shape NAME OUT, random weights of a known shape.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/model/pack_model.h"
#include "kernels/registry/registry.h"
#include "tools/bench/shape_options.h"
#include "tools/bench/shape_pack.h"
#include "tools/foregate/commands.h"
#include "tools/foregate/progress.h"

namespace foregate {
namespace {

struct PackArguments : ShapeChoice {
  std::vector<std::string> paths;  // as given: a model and a directory, or the directory of a shape alone
  std::string model;               // this or shape
  std::string out_dir;
  std::string quantization = "none";
  std::uint64_t max_file_bytes = kMaxDataFileBytes;
  int threads = 0;
  bool verify = false;
};

int take_paths(PackArguments& arguments) {
  const auto wrong = [](const char* message) {
    std::fprintf(stderr, "foregate pack: %s\n", message);
    return 2;
  };
  arguments.out_dir = arguments.paths.back();
  if (!arguments.shape.empty()) {
    return arguments.paths.size() == 1 ? -1 : wrong("with --shape give the directory to write, and no model");
  }
  if (arguments.paths.size() != 2) return wrong("give a model and the directory to write, or --shape");
  if (arguments.quantization != "none" && !quantization_named(arguments.quantization)) {
    return wrong("--quantization of a model must be none, q8_0, q4_0 or q4_k");
  }
  arguments.model = arguments.paths.front();
  return -1;
}

// The exit status of a wrong or help-only command line, or -1 to go on.
int parse_arguments(int argc, char** argv, PackArguments& arguments) {
  CLI::App app("Write a model in the layout that the kernels compute with: loading it is reading it", "foregate pack");
  app.add_option("paths", arguments.paths,
                 "model directory or GGUF file, then the directory to write: new, empty, or with an unfinished pack to "
                 "go on with; only the latter with --shape")
      ->required()
      ->expected(1, 2);
  app.add_option(
      "-q,--quantization", arguments.quantization,
      "pack scalar matrices in this format: none, q8_0, q4_0 or q4_k; it changes the tokens. Of a shape: the "
      "type of its weights, as `foregate bench` has it");
  CLI::Option* shape = add_shape_options(app, "random weights of this shape instead of a model", arguments);
  app.add_option("-s,--seed", arguments.routing.seed, "of a shape's weights")->needs(shape);
  app.add_option("--max-file-size", arguments.max_file_bytes, "most bytes of one data file, e.g. 4GiB")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 62));
  app.add_option("-t,--threads", arguments.threads, "threads; 0 chooses")->check(CLI::Range(0, 1024));
  app.add_flag("--verify", arguments.verify, "read the finished directory back and compare its checksums");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int shown = app.exit(error);
    return shown == 0 ? 0 : 2;
  }
  return take_paths(arguments);
}

Status check_directories(const PackArguments& arguments) {
  std::error_code ignored;
  if (!std::filesystem::exists(arguments.model, ignored)) {
    return invalid_argument(arguments.model + " is not a directory, nor a GGUF file", "MODEL");
  }
  if (std::filesystem::equivalent(arguments.model, arguments.out_dir, ignored)) {
    return invalid_argument(arguments.out_dir + " is the model itself; name another directory", "OUT");
  }
  return {};
}

Result<PackReport> pack_model(const PackArguments& arguments, const Backend& backend, const PackProgress& progress) {
  RETURN_IF_ERROR(check_directories(arguments));
  PackOptions options;
  options.weights.quantization = quantization_named(arguments.quantization);
  options.max_file_bytes = arguments.max_file_bytes;
  ASSIGN_OR_RETURN(const PackPlan plan, plan_pack(local_files(), arguments.model, options));
  const auto stream = backend.device->create_stream();
  ASSIGN_OR_RETURN(const auto out, open_output_directory(arguments.out_dir));
  return run_pack(plan, local_files(), *out, backend.ops, *stream, progress);
}

Result<PackReport> pack_shape(const PackArguments& arguments, const Backend& backend, const PackProgress& progress) {
  ShapePackOptions options;
  options.shape = arguments.shape;
  options.quantization = arguments.quantization;
  options.layers = arguments.layers;
  options.routing = arguments.routing;
  options.max_file_bytes = arguments.max_file_bytes;
  ASSIGN_OR_RETURN(const PackPlan plan, plan_shape_pack(options));
  ASSIGN_OR_RETURN(const auto out, open_output_directory(arguments.out_dir));
  return run_shape_pack(plan, options.routing, backend.threads, local_files(), *out, progress);
}

Result<PackReport> pack(const PackArguments& arguments, ProgressBar& bar) {
  std::string error;
  const Backend backend = make_backend({.isa = "auto", .threads = arguments.threads}, &error);
  if (backend.device == nullptr) return invalid_argument(error);
  const PackProgress progress = [&bar](std::string_view stage, double fraction) { bar.show(stage, fraction); };
  ASSIGN_OR_RETURN(PackReport report, arguments.shape.empty() ? pack_model(arguments, backend, progress)
                                                              : pack_shape(arguments, backend, progress));
  if (!arguments.verify) return report;
  ASSIGN_OR_RETURN(const PackedModel model, PackedModel::open(local_files(), arguments.out_dir));
  RETURN_IF_ERROR(verify_packed(model, [&bar](std::uint64_t done, std::uint64_t total) {
    bar.show("verify", static_cast<double>(done) / static_cast<double>(total));
  }));
  return report;
}

void print_report(const PackArguments& arguments, const PackReport& report, double seconds) {
  const PackedIndex& index = report.index;
  const auto experts = std::count_if(index.units.begin(), index.units.end(),
                                     [](const PackedUnit& unit) { return unit.kind == PackedKind::kExpert; });
  if (report.finished_before) {
    std::printf("%s was packed already: nothing to write\n", arguments.out_dir.c_str());
  } else if (report.units_before > 0) {
    std::printf("went on behind the %zu of %zu units that were there\n", report.units_before, index.units.size());
  }
  std::printf("%s: %zu units, %lld of them experts, %.3f GB in %zu files, layout %s, quantization %s%s, %.1f s\n",
              arguments.out_dir.c_str(), index.units.size(), static_cast<long long>(experts),
              static_cast<double>(index.data_bytes()) * 1e-9, index.files.size(), index.layout.c_str(),
              index.quantization.c_str(), arguments.verify ? ", verified" : "", seconds);
}

}  // namespace

int pack_command(int argc, char** argv) {
  PackArguments arguments;
  if (const int done = parse_arguments(argc, argv, arguments); done >= 0) return done;
  std::signal(SIGXFSZ, SIG_IGN);  // a size limit is an error of the write, not the end of the process
  const auto start = std::chrono::steady_clock::now();
  ProgressBar bar;
  const auto report = pack(arguments, bar);
  bar.clear();
  if (!report.ok()) {
    std::fprintf(stderr, "foregate pack: %s\n", report.status().to_string().c_str());
    return report.status().code() == Code::kInvalidArgument ? 2 : 1;
  }
  print_report(arguments, report.value(),
               std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  return 0;
}

}  // namespace foregate
