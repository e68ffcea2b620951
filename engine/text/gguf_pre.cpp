#include "engine/text/gguf_pre.h"

#include "engine/text/split_patterns.h"

namespace foregate::tok {
namespace {

constexpr std::string_view kGpt2[] = {kGpt2Pattern};
constexpr std::string_view kDigitThenGpt2[] = {kDigit, kGpt2Pattern};
constexpr std::string_view kLlama3[] = {kLlama3Pattern};
constexpr std::string_view kQwen2[] = {kQwen2Pattern};
constexpr std::string_view kQwen35[] = {kQwen35Pattern};
constexpr std::string_view kGpt4o[] = {kGpt4oPattern};
constexpr std::string_view kTekken[] = {kTekkenPattern};
constexpr std::string_view kDeepseekLlm[] = {kLineBreak,    kDeepseekWords, kDeepseekMarks,
                                             kDeepseekTail, kDeepseekAsian, kDigit};
constexpr std::string_view kDeepseekCoder[] = {kLineBreak, kDeepseekCoderWords, kDeepseekCoderMarks, kDeepseekAsian,
                                               kDigit};
constexpr std::string_view kDeepseekV3[] = {kThreeDigits, kDeepseek3Asian, kDeepseek3Words};
constexpr std::string_view kDefault[] = {kDefaultMarks, kGpt2Pattern, kDigits, kAsciiThreeDigits};
constexpr std::string_view kFalcon[] = {kFalconMarks, kGpt2Pattern, kAsciiThreeDigits};

constexpr GgufPreTokenizer kKnown[] = {
    {.name = "default", .patterns = kDefault},
    {.name = "gpt-2", .patterns = kGpt2},
    {.name = "phi-2", .patterns = kGpt2},
    {.name = "olmo", .patterns = kGpt2, .nfc = true},
    {.name = "mpt", .patterns = kGpt2, .nfc = true},
    {.name = "starcoder", .patterns = kDigitThenGpt2},
    {.name = "refact", .patterns = kDigitThenGpt2},
    {.name = "smollm", .patterns = kDigitThenGpt2},
    {.name = "command-r", .patterns = kDigitThenGpt2, .nfc = true},
    {.name = "qwen2", .patterns = kQwen2, .nfc = true},
    {.name = "deepseek-r1-qwen", .patterns = kQwen2},
    {.name = "megrez", .patterns = kQwen2, .nfc = true},
    {.name = "qwen35", .patterns = kQwen35, .nfc = true},
    {.name = "llama-bpe", .patterns = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "llama3", .patterns = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "llama-v3", .patterns = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "dbrx", .patterns = kLlama3},
    {.name = "smaug-bpe", .patterns = kLlama3},
    {.name = "gpt-4o", .patterns = kGpt4o},
    {.name = "llama4", .patterns = kGpt4o},
    {.name = "tekken", .patterns = kTekken, .ignore_merges = true, .add_bos = true},
    {.name = "deepseek-llm", .patterns = kDeepseekLlm},
    {.name = "deepseek-coder", .patterns = kDeepseekCoder},
    {.name = "deepseek-v3", .patterns = kDeepseekV3},
    {.name = "falcon", .patterns = kFalcon},
};

}  // namespace

std::span<const GgufPreTokenizer> all_gguf_pre_tokenizers() {
  return kKnown;
}

const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name) {
  for (const GgufPreTokenizer& known : kKnown) {
    if (name == known.name) return &known;
  }
  return nullptr;
}

}  // namespace foregate::tok
