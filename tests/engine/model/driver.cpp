#include "tests/engine/model/driver.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "engine/io/gguf_files.h"
#include "kernels/registry/gpu.h"

namespace foregate {
namespace {

template <class T>
T must(Result<T> result) {
  if (result.ok()) return std::move(result).value();
  std::fprintf(stderr, "driver: %s\n", result.status().to_string().c_str());
  std::abort();
}

}  // namespace

Driver::Driver(const std::string& dir, const DriverOptions& options) : options_(options) {
  std::string error;
  backend_ = make_backend({.isa = options.isa, .threads = options.threads}, &error);
  if (backend_.device == nullptr) std::fprintf(stderr, "driver: %s\n", error.c_str());
  CHECK(backend_.device != nullptr);
  std::optional<LoadPacking> packing;
  if (!options.cuda_module.empty()) {
    host_ = std::move(backend_);
    backend_ = make_gpu_backend({.module = options.cuda_module, .library_rows = options.library_rows}, &error);
    if (backend_.device == nullptr) std::fprintf(stderr, "driver: %s\n", error.c_str());
    CHECK(backend_.device != nullptr);
    host_stream_ = host_.device->create_stream();
    packing = {host_.device.get(), &host_.ops, host_stream_.get()};
  }
  if (options.edit_ops != nullptr) options.edit_ops(backend_.ops);
  stream_ = backend_.device->create_stream();
  const FileSystem& files = options.files != nullptr ? *options.files : local_files();
  const OpenModel model = must(open_model(files, dir));
  model_ = must(load_transformer(model, *backend_.device, backend_.ops, *stream_,
                                 {.max_batched_tokens = options.max_batched_tokens,
                                  .weights = {quantization_named(options.quantization)},
                                  .lookahead = options.lookahead,
                                  .collect_steps = !options.eager,
                                  .experts = experts(model),
                                  .dense = options.dense,
                                  .packing = packing,
                                  .ranks = options.ranks,
                                  .exchange = options.exchange,
                                  .overlap = options.overlap,
                                  .least_part_bytes = options.least_part_bytes}));
  cache_ = std::make_unique<KvCache>(
      must(KvCache::create(*backend_.device, model_->kv_layout(options.kv_type, options.block_size), options.blocks)));
}

std::optional<ExpertLoading> Driver::experts(const OpenModel& model) {
  if (options_.ranks != nullptr && !options_.experts) return std::nullopt;
  if (!options_.experts && (!options_.cuda_module.empty() || !kEvictAtRelease || model.config.router.experts == 0))
    return std::nullopt;
  std::string error;
  background_ = make_backend({.isa = options_.isa, .threads = 1}, &error);
  background_stream_ = background_.device->create_stream();
  if (options_.experts) {
    ExpertLoading given = *options_.experts;
    if (given.background == nullptr) given.background = background_stream_.get();
    if (given.tier) {
      pinned_ = std::make_unique<PinnedMemory>(*backend_.device, *host_.device);
      given.memory = pinned_.get();
    }
    return given;
  }
  return ExpertLoading{.store = {.budget_bytes = UINT64_MAX, .evict_at_release = true},
                       .background = background_stream_.get(),
                       .warm = false};
}

int Driver::add_sequence() {
  sequences_.emplace_back();
  return static_cast<int>(sequences_.size()) - 1;
}

void Driver::reset() {
  sequences_.clear();
  blocks_taken_ = 0;
}

// Blocks in an order that jumps about, so that neighbours in a sequence are not neighbours in memory.
std::int32_t Driver::take_block() {
  CHECK(blocks_taken_ < options_.blocks);
  std::int32_t stride = 7;
  while (options_.blocks % stride == 0) ++stride;
  return static_cast<std::int32_t>(std::int64_t{blocks_taken_++} * stride % options_.blocks);
}

std::vector<std::vector<float>> Driver::step(const std::vector<Part>& parts) {
  return must(try_step(parts));
}

Result<std::vector<std::vector<float>>> Driver::try_step(const std::vector<Part>& parts) {
  std::vector<Token> tokens;
  std::vector<std::int32_t> positions;
  std::vector<std::int64_t> slots;
  std::vector<SeqSpan> spans;
  std::vector<std::int32_t> rows;
  std::vector<std::uint64_t> requests;
  for (const Part& part : parts) {
    requests.push_back(static_cast<std::uint64_t>(part.sequence));
    Sequence& sequence = sequences_[static_cast<std::size_t>(part.sequence)];
    const auto count = static_cast<std::int32_t>(part.tokens.size());
    const auto first_row = static_cast<std::int32_t>(tokens.size());
    for (std::int32_t i = 0; i < count; ++i) {
      const std::int32_t position = sequence.length + i;
      if (position % options_.block_size == 0) sequence.blocks.push_back(take_block());
      tokens.push_back(part.tokens[static_cast<std::size_t>(i)]);
      positions.push_back(position);
      slots.push_back(std::int64_t{sequence.blocks.back()} * options_.block_size + position % options_.block_size);
      rows.push_back(first_row + i);
    }
    spans.push_back({first_row, count, sequence.length, nullptr});
    sequence.length += count;
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    spans[i].block_table = sequences_[static_cast<std::size_t>(parts[i].sequence)].blocks.data();
  }
  const std::int64_t vocab = model_->vocab_size();
  std::vector<float> logits(rows.size() * static_cast<std::size_t>(vocab));
  RETURN_IF_ERROR(model_->forward({tokens, positions, slots, spans, rows, requests}, *cache_,
                                  {logits.data(), static_cast<std::int64_t>(rows.size()), vocab, vocab}));
  std::vector<std::vector<float>> out;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    out.emplace_back(logits.begin() + static_cast<std::ptrdiff_t>(i) * vocab,
                     logits.begin() + static_cast<std::ptrdiff_t>(i + 1) * vocab);
  }
  return out;
}

std::vector<std::vector<float>> Driver::run(const std::vector<Token>& tokens, std::size_t chunk) {
  return must(try_run(tokens, chunk));
}

Result<std::vector<std::vector<float>>> Driver::try_run(const std::vector<Token>& tokens, std::size_t chunk) {
  reset();
  const int sequence = add_sequence();
  std::vector<std::vector<float>> logits;
  for (std::size_t first = 0; first < tokens.size(); first += chunk) {
    const std::size_t last = std::min(tokens.size(), first + chunk);
    const auto begin = tokens.begin();
    ASSIGN_OR_RETURN(
        auto part,
        try_step(
            {{sequence, {begin + static_cast<std::ptrdiff_t>(first), begin + static_cast<std::ptrdiff_t>(last)}}}));
    logits.insert(logits.end(), part.begin(), part.end());
  }
  return logits;
}

std::vector<Token> greedy_tokens(Driver& driver, const std::vector<Token>& prompt, std::size_t count) {
  driver.reset();
  const int sequence = driver.add_sequence();
  auto row = driver.step({{sequence, prompt}}).back();
  std::vector<Token> tokens;
  while (tokens.size() < count) {
    tokens.push_back(static_cast<Token>(std::max_element(row.begin(), row.end()) - row.begin()));
    row = driver.step({{sequence, {tokens.back()}}}).back();
  }
  return tokens;
}

std::string golden_dir(const std::string& name) {
  return std::string(FOREGATE_SOURCE_DIR) + "/tests/golden/" + name;
}

std::string demo_dir() {
  return std::string(FOREGATE_SOURCE_DIR) + "/models/demo";
}

std::vector<std::string> gguf_fixture_names() {
  std::vector<std::string> names;
  for (const std::string& path : must(list_gguf_models(local_files(), golden_dir("gguf")))) {
    if (!path.ends_with(".vocab.gguf")) names.push_back(model_name(path));
  }
  return names;
}

std::string gguf_fixture(const std::string& name) {
  for (const std::string& path : must(list_gguf_models(local_files(), golden_dir("gguf")))) {
    if (model_name(path) == name) return path;
  }
  return golden_dir("gguf") + "/" + name + ".gguf";
}

namespace {

std::vector<std::string> fixtures_of(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(golden_dir(folder))) {
    if (std::filesystem::exists(entry.path() / "golden.safetensors"))
      names.push_back(folder + entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

std::vector<std::string> golden_names() {
  return fixtures_of("");
}

std::vector<std::string> quantized_names() {
  return fixtures_of("quantized/");
}

}  // namespace foregate
