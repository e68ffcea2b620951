// What the mask of one token costs the engine thread: a made vocabulary of 150k tokens, texts that grow under each
// form. `step` is all of it (mask and accept), with masks that came up before kept; `cold` works every mask out anew.
// Prints the median, the 99th percentile and the longest of steps. Run by hand.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <set>

#include "engine/grammar/compile.h"

namespace foregate {
namespace {

// Words, with and without a space before them, joined with what JSON puts around them: as real vocabularies have it.
grammar::Vocabulary made_vocabulary(std::size_t size) {
  std::mt19937 random(1);
  const char* ends[] = {"", "", "", "", "\"", "\",", "\":", "\"}", ",", ".", "\n", ")", "\n  \""};
  std::set<std::string> tokens;
  while (tokens.size() < size - 257) {
    std::string word = random() % 2 == 0 ? " " : "";
    const std::size_t length = 1 + random() % 9;
    for (std::size_t i = 0; i < length; ++i) word.push_back(static_cast<char>('a' + random() % 26));
    if (random() % 12 == 0) word = std::to_string(random() % 1000);
    tokens.insert(word + ends[random() % std::size(ends)]);
  }
  grammar::Vocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) vocabulary.tokens.emplace_back(1, static_cast<char>(byte));
  vocabulary.tokens.emplace_back();
  vocabulary.tokens.insert(vocabulary.tokens.end(), tokens.begin(), tokens.end());
  vocabulary.end_ids = {256};
  return vocabulary;
}

struct Form {
  const char* name;
  GrammarSpec spec;
};

// Microseconds of each step of texts that are drawn from the masks.
std::vector<double> steps(const TokenConstraint& form, std::size_t count) {
  std::mt19937 random(3);
  std::vector<double> times;
  while (times.size() < count) {
    auto state = form.start();
    for (int i = 0; i < 200 && !state->complete() && times.size() < count; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      auto mask = state->allowed();
      const auto masked = std::chrono::steady_clock::now();
      if (!mask.ok()) return times;
      std::vector<std::int32_t> ids;
      for (std::size_t w = 0; w < mask->size(); ++w) {
        for (int b = 0; b < 64; ++b) {
          if (((*mask)[w] >> b & 1) != 0 && w * 64 + static_cast<std::size_t>(b) != 256)
            ids.push_back(static_cast<std::int32_t>(w * 64) + b);
        }
      }
      if (ids.empty()) break;
      const std::int32_t token = ids[random() % ids.size()];
      const auto again = std::chrono::steady_clock::now();
      if (!state->accept(token).ok()) return times;
      const auto end = std::chrono::steady_clock::now();
      times.push_back(std::chrono::duration<double, std::micro>((masked - begin) + (end - again)).count());
    }
  }
  return times;
}

void report(const char* name, const char* kind, double compile_ms, std::vector<double> times) {
  std::sort(times.begin(), times.end());
  std::printf("%-14s %-5s compile %7.1f ms  n %zu  median %7.2f us  p99 %8.1f us  max %8.1f us\n", name, kind,
              compile_ms, times.size(), times[times.size() / 2], times[times.size() * 99 / 100], times.back());
}

void run(const grammar::Vocabulary& vocabulary, const Form& form) {
  for (const bool cold : {false, true}) {
    grammar::GrammarLimits limits;
    if (cold) limits.mask_bytes = 0;
    GrammarCompiler compiler(vocabulary, limits);
    const auto begin = std::chrono::steady_clock::now();
    auto made = compiler.compile(form.spec);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    if (!made.ok()) {
      std::printf("%s: %s\n", form.name, made.status().to_string().c_str());
      return;
    }
    report(form.name, cold ? "cold" : "step", took.count(), steps(**made, 2000));
  }
}

}  // namespace
}  // namespace foregate

int main() {
  using Kind = foregate::GrammarSpec::Kind;
  const auto vocabulary = foregate::made_vocabulary(150'000);
  const foregate::Form forms[] = {
      {"json_object", {Kind::kJsonObject, ""}},
      {"schema",
       {Kind::kJsonSchema,
        R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
        "tags":{"type":"array","items":{"type":"string"}},"kind":{"enum":["a","b","c"]}},"required":["name","age","tags","kind"],"additionalProperties":false})"}},
      {"regex", {Kind::kRegex, R"([a-z]+( [a-z]+){0,30}\.)"}},
      {"gbnf", {Kind::kGbnf, "root ::= line+\nline ::= \"- \" [^\\n]+ \"\\n\""}}};
  for (const auto& form : forms) foregate::run(vocabulary, form);
}
