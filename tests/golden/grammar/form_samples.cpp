// Reads JSON schemas, one a line, and writes for each a text drawn at random under its token mask over the demo model's
// vocabulary: run_schemas.py asks another library whether each is valid. usage: form_samples TOKENIZER.json < schemas
#include <iostream>
#include <random>
#include <string>

#include "engine/grammar/compile.h"
#include "engine/io/file.h"
#include "engine/text/tokenizer.h"

namespace foregate {
namespace {

grammar::Vocabulary vocabulary_of(const Tokenizer& tokenizer) {
  grammar::Vocabulary vocabulary;
  for (Token id = 0; id < tokenizer.vocab_size(); ++id) {
    vocabulary.tokens.push_back(tokenizer.is_special(id) ? "" : tokenizer.token_bytes(id));
  }
  vocabulary.tokens.emplace_back();
  vocabulary.end_ids = {tokenizer.vocab_size()};
  return vocabulary;
}

// True within quotes; `text` is JSON as far as it goes.
bool in_string(const std::string& text) {
  bool inside = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      inside = !inside;
    }
  }
  return inside;
}

// At first any token that fits; later those that lead to an end.
Token choose(std::span<const std::uint64_t> mask, const grammar::Vocabulary& vocabulary, const std::string& text,
             bool late, std::mt19937& random) {
  std::vector<Token> ids, plain;
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if ((mask[id / 64] >> (id % 64) & 1) != 0) ids.push_back(static_cast<Token>(id));
  }
  if (ids.empty()) return -1;
  if (!late) return ids[random() % ids.size()];
  const std::vector<std::string> wanted =
      in_string(text) ? std::vector<std::string>{"\""} : std::vector<std::string>{"", "}", "]", ",", ":"};
  for (const std::string& want : wanted) {
    for (const Token id : ids) {
      if (vocabulary.tokens[static_cast<std::size_t>(id)] == want) return id;
    }
  }
  for (const Token id : ids) {
    if (vocabulary.tokens[static_cast<std::size_t>(id)].find_first_of("{[ \n\t") == std::string::npos)
      plain.push_back(id);
  }
  return plain.empty() ? ids[random() % ids.size()] : plain[random() % plain.size()];
}

std::string draw(const TokenConstraint& form, const grammar::Vocabulary& vocabulary, std::mt19937& random) {
  auto state = form.start();
  std::string text;
  for (int step = 0; step < 5000 && !state->complete(); ++step) {
    auto mask = state->allowed();
    if (!mask.ok()) return "error: " + mask.status().to_string();
    const Token token = choose(*mask, vocabulary, text, step > 25, random);
    if (token == vocabulary.end_ids[0]) return text;
    if (token < 0 || !state->accept(token).ok()) return "error: a dead end after " + text;
    text += vocabulary.tokens[static_cast<std::size_t>(token)];
  }
  return state->complete() ? text : "error: no end after " + text;
}

}  // namespace
}  // namespace foregate

int main(int argc, char** argv) {
  using namespace foregate;
  if (argc != 2) return 2;
  auto tokenizer = load_tokenizer(local_files(), argv[1]);
  if (!tokenizer.ok()) return 2;
  const grammar::Vocabulary vocabulary = vocabulary_of(**tokenizer);
  GrammarCompiler compiler(vocabulary);
  std::mt19937 random(11);
  std::string line;
  while (std::getline(std::cin, line)) {
    auto form = compiler.compile({GrammarSpec::Kind::kJsonSchema, line});
    std::string text = form.ok() ? draw(**form, vocabulary, random) : "error: " + form.status().to_string();
    for (char& c : text)
      c = c == '\n' || c == '\t' ? ' ' : c;  // white space between tokens: strings hold none of it raw
    std::cout << text << "\n";
  }
}
