// Compares the tokenizer with expected results: tokenizer_parity TOKENIZER.json|VOCABULARY.gguf CASES.jsonl
// A case has "ids", and any of "text" (encode it and compare), "special" (add special tokens),
// "plain" and "skipped" (decode the ids with and without special tokens; whole and as a stream).
// Prints each mismatch (the first 20) and one line of counts. Exit status 0: no mismatch.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/io/gguf.h"
#include "engine/runtime/model_text.h"
#include "engine/text/tokenizer.h"

namespace {

using foregate::Token;
using nlohmann::json;

struct Counts {
  long cases = 0, encoded = 0, decoded = 0, tokens = 0, mismatches = 0;
};

std::string printable(const std::string& text) {
  return json(text.substr(0, 400)).dump(-1, ' ', true, json::error_handler_t::replace);
}

void report(Counts* counts, long line, const char* what, const std::string& detail) {
  if (++counts->mismatches <= 20) std::printf("line %ld: %s: %s\n", line, what, detail.c_str());
}

void check_encode(const foregate::Tokenizer& tokenizer, const json& item, const std::vector<Token>& ids, long line,
                  Counts* counts) {
  foregate::EncodeOptions options;
  options.add_special_tokens = item.value("special", false);
  const auto text = item["text"].get<std::string>();
  auto got = tokenizer.encode(text, options);
  ++counts->encoded;
  if (!got.ok()) return report(counts, line, "encode failed", got.status().to_string());
  counts->tokens += static_cast<long>(got->size());
  if (*got == ids) return;
  std::size_t at = 0;
  while (at < ids.size() && at < got->size() && ids[at] == (*got)[at]) ++at;
  const auto tail = [at](const std::vector<Token>& all) {
    const std::size_t end = std::min(all.size(), at + 6);
    return json(std::vector<Token>(all.begin() + static_cast<long>(std::min(at, end)),
                                   all.begin() + static_cast<long>(end)))
        .dump();
  };
  report(counts, line, "encode",
         printable(text) + " at token " + std::to_string(at) + ": got " + tail(*got) + ", want " + tail(ids));
}

void check_decode(const foregate::Tokenizer& tokenizer, const std::vector<Token>& ids, bool skip,
                  const std::string& want, long line, Counts* counts) {
  ++counts->decoded;
  const std::string got = tokenizer.decode(ids, skip);
  if (got != want)
    report(counts, line, skip ? "decode skipping" : "decode", "got " + printable(got) + ", want " + printable(want));
  foregate::Detokenizer stream(tokenizer, skip);
  std::string streamed;
  for (const Token id : ids) streamed += stream.push(id);
  streamed += stream.finish();
  if (streamed != want) report(counts, line, "stream", "got " + printable(streamed) + ", want " + printable(want));
}

foregate::Result<std::unique_ptr<foregate::Tokenizer>> load(const std::string& path) {
  const foregate::FileSystem& files = foregate::local_files();
  if (!path.ends_with(".gguf")) return foregate::load_tokenizer(files, path);
  ASSIGN_OR_RETURN(auto file, files.open(path));
  ASSIGN_OR_RETURN(foregate::GgufHeader header, foregate::read_gguf_header(*file));
  ASSIGN_OR_RETURN(foregate::GgufVocab vocab, foregate::take_gguf_vocab(header, path));
  return foregate::make_gguf_tokenizer(std::move(vocab));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: tokenizer_parity TOKENIZER.json|VOCABULARY.gguf CASES.jsonl\n");
    return 2;
  }
  const auto start = std::chrono::steady_clock::now();
  auto tokenizer = load(argv[1]);
  if (!tokenizer.ok()) {
    std::printf("load: %s\n", tokenizer.status().to_string().c_str());
    return 1;
  }
  const std::chrono::duration<double> load_s = std::chrono::steady_clock::now() - start;
  Counts counts;
  std::ifstream cases(argv[2]);
  std::string line;
  for (long number = 1; std::getline(cases, line); ++number) {
    const json item = json::parse(line);
    const auto ids = item["ids"].get<std::vector<Token>>();
    ++counts.cases;
    if (item.contains("text")) check_encode(**tokenizer, item, ids, number, &counts);
    if (item.contains("plain")) check_decode(**tokenizer, ids, false, item["plain"], number, &counts);
    if (item.contains("skipped")) check_decode(**tokenizer, ids, true, item["skipped"], number, &counts);
  }
  std::printf("cases %ld encoded %ld decoded %ld tokens %ld mismatches %ld load_s %.3f\n", counts.cases, counts.encoded,
              counts.decoded, counts.tokens, counts.mismatches, load_s.count());
  return counts.cases > 0 && counts.mismatches == 0 ? 0 : 1;
}
