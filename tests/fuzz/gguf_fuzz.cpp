#include "engine/io/gguf.h"
#include "engine/model/model_source.h"
#include "engine/model/weight_plan.h"
#include "engine/runtime/model_text.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/use_tokenizer.h"

namespace foregate {
namespace {

bool use_vocabulary(std::string_view bytes) {
  auto header = read_gguf_header(BytesFile(bytes, "fuzz.gguf"));
  if (!header.ok()) return false;
  auto vocab = take_gguf_vocab(header.value(), "fuzz.gguf");
  if (!vocab.ok()) return true;
  const auto tokenizer = make_gguf_tokenizer(std::move(vocab).value());
  if (tokenizer.ok()) use_tokenizer(*tokenizer.value());
  return true;
}

// 1: the configuration and the tensors fit one another, 2: every weight has its place.
int use_model(const OneFile& files) {
  auto opened = open_model(files, "fuzz.gguf");
  if (!opened.ok()) return 0;
  OpenModel& model = opened.value();
  ModelWeights weights;
  const auto plan = plan_weights(model.config, model.index, {}, weights);
  if (plan.ok()) {
    for (const WeightItem& item : plan.value()) {
      CHECK(item.begin + static_cast<std::uint64_t>(source_bytes(item)) <= item.entry->bytes);
    }
  }
  (void)load_model_text(files, model);
  return plan.ok() ? 2 : 1;
}

}  // namespace
}  // namespace foregate

int fuzz_gguf(std::string_view bytes) {
  const bool header = foregate::use_vocabulary(bytes);
  const int model = foregate::use_model(foregate::OneFile("fuzz.gguf", bytes));
  return header ? 1 + model : 0;
}
