#include "tests/fuzz/gguf_fuzz.h"

#include <cstring>
#include <string>

#include "engine/base/log.h"
#include "engine/io/gguf.h"
#include "engine/model/model_source.h"
#include "engine/model/weight_plan.h"
#include "engine/runtime/model_text.h"
#include "kernels/api/check.h"

namespace {

using namespace foregate;

GgufFuzzCounts g_counts;

class BytesFile final : public File {
 public:
  explicit BytesFile(std::string_view bytes) : bytes_(bytes) {}
  std::uint64_t size() const override { return bytes_.size(); }
  const std::string& path() const override { return path_; }
  Status read(std::uint64_t offset, std::span<std::byte> out) const override {
    CHECK(offset <= bytes_.size() && out.size() <= bytes_.size() - offset);  // nobody may ask for more
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }

 private:
  std::string_view bytes_;
  std::string path_ = "fuzz.gguf";
};

class OneFile final : public FileSystem {
 public:
  explicit OneFile(std::string_view bytes) : bytes_(bytes) {}
  Result<std::unique_ptr<File>> open(const std::string& path) const override {
    if (path != "fuzz.gguf") return not_found(path);
    return std::unique_ptr<File>(std::make_unique<BytesFile>(bytes_));
  }
  bool exists(const std::string& path) const override { return path == "fuzz.gguf"; }
  Result<std::vector<std::string>> list(const std::string& dir) const override { return not_found(dir); }

 private:
  std::string_view bytes_;
};

// Ids of a text must be ids of the vocabulary; any ids decode to something, whole and in a stream alike.
void use_tokenizer(const Tokenizer& tokenizer) {
  ++g_counts.tokenizers;
  for (const bool special : {false, true}) {
    const auto ids = tokenizer.encode("abc ab  a<|im_end|>\n12 \xE4\xB8\xAD!", {.add_special_tokens = special});
    if (!ids.ok()) continue;
    for (const Token id : ids.value()) CHECK(id >= 0 && id < tokenizer.vocab_size());
  }
  std::vector<Token> ids;
  for (Token id = -1; id < 40; ++id) ids.push_back(id);
  Detokenizer stream(tokenizer, true);
  std::string streamed;
  for (const Token id : ids) streamed += stream.push(id);
  streamed += stream.finish();
  CHECK(streamed == tokenizer.decode(ids, true));
}

void use_vocabulary(std::string_view bytes) {
  auto header = read_gguf_header(BytesFile(bytes));
  if (!header.ok()) return;
  ++g_counts.headers;
  auto vocab = take_gguf_vocab(header.value(), "fuzz.gguf");
  if (!vocab.ok()) return;
  const auto tokenizer = make_gguf_tokenizer(std::move(vocab).value());
  if (tokenizer.ok()) use_tokenizer(*tokenizer.value());
}

void use_model(const OneFile& files) {
  auto opened = open_model(files, "fuzz.gguf");
  if (!opened.ok()) return;
  OpenModel& model = opened.value();
  ++g_counts.models;
  ModelWeights weights;
  const auto plan = plan_weights(model.config, model.index, {}, weights);
  if (plan.ok()) ++g_counts.plans;
  if (plan.ok()) {
    for (const WeightItem& item : plan.value()) {
      CHECK(item.begin + static_cast<std::uint64_t>(source_bytes(item)) <= item.entry->bytes);
    }
  }
  (void)load_model_text(files, model);
}

}  // namespace

const GgufFuzzCounts& gguf_fuzz_counts() {
  return g_counts;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  set_log_level(LogLevel::kError);
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  ++g_counts.runs;
  use_vocabulary(bytes);
  use_model(OneFile(bytes));
  return 0;
}
