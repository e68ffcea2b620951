// Tokenizers made of GGUF vocabularies: token types, special ids, and what is refused. Ids of whole tokenizers are
// compared in tests/golden/tokenizer.
#include "engine/text/gguf_vocab.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/text/gguf_pre.h"
#include "engine/text/tokenizer_regex.h"

namespace foregate {
namespace {

using Ids = std::vector<Token>;
using enum GgufTokenType;

GgufVocab byte_level() {
  GgufVocab vocab;
  vocab.model = "gpt2";
  vocab.pre = "gpt-2";
  vocab.tokens = {"a", "b", "ab", "\u0120", "\u0120a", "<end>", "ba ba", "[PAD7]", "", "\u010a", "[PAD11]"};
  vocab.types = {kNormal,      kNormal, kNormal, kNormal, kNormal, kControl,
                 kUserDefined, kUnused, kUnused, kNormal, kUnused};
  vocab.merges = {"a b", "\u0120 a"};
  return vocab;
}

GgufVocab pieces() {
  GgufVocab vocab;
  vocab.model = "llama";
  vocab.tokens = {"<unk>", "<s>", "</s>",    "<0x0A>", "<0xC3>",   "<0xA9>", "\u2581",
                  "a",     "b",   "\u2581a", "ab",     "\u2581ab", "aab"};
  vocab.types = {kUnknown, kControl, kControl, kByte,   kByte,   kByte,  kNormal,
                 kNormal,  kNormal,  kNormal,  kNormal, kNormal, kNormal};
  vocab.scores = {0, 0, 0, 0, 0, 0, -10, -11, -12, -2, -1, -3, -4};
  vocab.unknown = 0;
  vocab.bos = 1;
  vocab.eos = 2;
  return vocab;
}

std::unique_ptr<Tokenizer> made(GgufVocab vocab) {
  auto tokenizer = make_gguf_tokenizer(std::move(vocab));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().to_string();
  return tokenizer.ok() ? std::move(tokenizer).value() : nullptr;
}

Ids ids(const Tokenizer& tokenizer, std::string_view text, const EncodeOptions& options = {}) {
  auto got = tokenizer.encode(text, options);
  EXPECT_TRUE(got.ok()) << got.status().to_string();
  return got.ok() ? got.value() : Ids{};
}

TEST(GgufVocab, ByteLevelTypes) {
  const auto t = made(byte_level());
  EXPECT_EQ(ids(*t, "ab ab<end>\n"), (Ids{2, 3, 2, 5, 9})) << "a+b comes before space+a";
  EXPECT_EQ(ids(*t, "aba ba"), (Ids{0, 6})) << "a user-defined token is one token wherever it stands";
  EXPECT_TRUE(t->is_special(5));
  EXPECT_FALSE(t->is_special(6));
  EXPECT_EQ(t->decode(Ids{2, 4, 5, 6}, true), "ab aba ba");
  EXPECT_EQ(t->decode(Ids{2, 4, 5, 6}, false), "ab a<end>ba ba");
}

// What a client wrote is text, even where it spells a control token.
TEST(GgufVocab, LiteralTextIsNoControlToken) {
  GgufVocab vocab = byte_level();
  for (const char* piece : {"<", "e", "n", "d", ">"}) {
    vocab.tokens.emplace_back(piece);
    vocab.types.push_back(kNormal);
  }
  const auto t = made(std::move(vocab));
  const TextSpan span{0, 5};
  EXPECT_EQ(ids(*t, "<end>", {.literal_spans = {&span, 1}}), (Ids{11, 12, 13, 14, 15}));
}

TEST(GgufVocab, FillersAndHolesAreNoTokens) {
  const auto t = made(byte_level());
  EXPECT_EQ(t->token_id("[PAD7]"), std::nullopt);
  EXPECT_EQ(t->token_bytes(7), "");
  EXPECT_EQ(t->token_bytes(8), "");
  EXPECT_EQ(t->decode(Ids{0, 7, 8, 1}), "ab");
  EXPECT_EQ(t->token_id("[PAD11]"), 10) << "a filler is spelled with its own id";
}

TEST(GgufVocab, AddsBosAndEosAsTold) {
  GgufVocab vocab = byte_level();
  vocab.bos = vocab.eos = 5;
  const EncodeOptions special{.add_special_tokens = true};
  EXPECT_EQ(ids(*made(vocab), "a", special), (Ids{0}));
  vocab.add_bos = true;
  EXPECT_EQ(ids(*made(vocab), "a", special), (Ids{5, 0}));
  vocab.add_eos = true;
  EXPECT_EQ(ids(*made(vocab), "a", special), (Ids{5, 0, 5}));
  EXPECT_EQ(ids(*made(vocab), "a"), (Ids{0}));
  vocab.add_bos = vocab.add_eos = std::nullopt;
  vocab.pre = "llama-bpe";  // which begins its texts unless told otherwise
  EXPECT_EQ(ids(*made(vocab), "a", special), (Ids{5, 0}));
  vocab.add_bos = false;
  EXPECT_EQ(ids(*made(vocab), "a", special), (Ids{0}));
}

TEST(GgufVocab, AFileWithoutPreTokenizerIsSplitAsDefault) {
  GgufVocab vocab = byte_level();
  vocab.pre = "";
  EXPECT_EQ(ids(*made(vocab), "ab ab"), (Ids{2, 3, 2}));
}

TEST(GgufVocab, PiecesMergeByScore) {
  const auto t = made(pieces());
  // "_aab": the best pair is a+b (-1), then _+a (-2); _ a ab remains _a ab.
  EXPECT_EQ(ids(*t, "aab"), (Ids{9, 10}));
  EXPECT_EQ(ids(*t, "ab"), (Ids{11})) << "any two neighbours that make a token merge: _ and ab";
  EXPECT_EQ(ids(*t, "a ab\n\u00e9"), (Ids{9, 11, 3, 4, 5}));
  EXPECT_EQ(ids(*t, "a", {.add_special_tokens = true}), (Ids{1, 9}));
  EXPECT_EQ(t->decode(Ids{9, 6, 10, 3, 4, 5}), "a ab\n\u00e9");
}

TEST(GgufVocab, UnknownCharactersWithoutBytes) {
  const auto t = made(pieces());
  EXPECT_EQ(ids(*t, "a\u4e2d\u6587b"), (Ids{9, 0, 8})) << "one unknown token for a run of them";
}

TEST(GgufVocab, SpacePrefixIsAChoice) {
  GgufVocab vocab = pieces();
  vocab.add_space_prefix = false;
  const auto t = made(vocab);
  EXPECT_EQ(ids(*t, "a"), (Ids{7}));
  EXPECT_EQ(ids(*t, " a"), (Ids{9}));
  EXPECT_EQ(t->decode(Ids{9}), " a");
  vocab.add_space_prefix = true;
  EXPECT_EQ(ids(*made(vocab), "</s>a"), (Ids{2, 9})) << "also behind a control token";
}

TEST(GgufVocab, PreTokenizersAreKnownByNameAndCompile) {
  for (const char* name : {"olmo", "gpt-2", "qwen2", "llama-bpe", "deepseek-llm", "deepseek-v3", "default", "tekken",
                           "refact", "starcoder"}) {
    EXPECT_NE(tok::find_gguf_pre_tokenizer(name), nullptr) << name;
  }
  EXPECT_EQ(tok::find_gguf_pre_tokenizer("Qwen2"), nullptr);
  for (const tok::GgufPreTokenizer& pre : tok::all_gguf_pre_tokenizers()) {
    GgufVocab vocab = byte_level();
    vocab.pre = pre.name;
    vocab.bos = 5;
    EXPECT_TRUE(make_gguf_tokenizer(vocab).ok()) << pre.name;
  }
}

struct Refusal {
  const char* what;
  GgufVocab vocab;
  const char* field;
  const char* message;
};

template <class Edit>
GgufVocab edited(GgufVocab vocab, Edit edit) {
  edit(vocab);
  return vocab;
}

TEST(GgufVocab, WhatDoesNotFitIsRefused) {
  const Refusal cases[] = {
      {"not UTF-8", edited(byte_level(), [](auto& v) { v.tokens[1] = "\xff"; }), "tokenizer.ggml.tokens",
       "tokens[1] is not valid UTF-8"},
      {"half a character", edited(pieces(), [](auto& v) { v.tokens[7] = "\xe4\xb8"; }), "tokenizer.ggml.tokens",
       "not valid UTF-8"},
      {"a token twice", edited(byte_level(), [](auto& v) { v.tokens[1] = "a"; }), "model.vocab", "appears twice"},
      {"a merge of unknown parts", edited(byte_level(), [](auto& v) { v.merges = {"a c"}; }), "model.merges",
       "not in the vocabulary"},
      {"a merge without a result", edited(byte_level(), [](auto& v) { v.merges = {"b a"}; }), "model.merges",
       "merged token is not"},
      {"a merge of one part", edited(byte_level(), [](auto& v) { v.merges = {" a"}; }), "tokenizer.ggml.merges",
       "is not two parts"},
      {"a score too few", edited(pieces(), [](auto& v) { v.scores.pop_back(); }), "tokenizer.ggml.scores",
       "has 12 entries for 13 tokens"},
      {"a score that is none", edited(pieces(), [](auto& v) { v.scores[7] = NAN; }), "tokenizer.ggml.scores", "NaN"},
      {"a piece of 300 bytes", edited(pieces(), [](auto& v) { v.tokens[12] = std::string(300, 'a'); }),
       "tokenizer.ggml.tokens", "longer than 256 bytes"},
      {"bos that is no token",
       edited(byte_level(),
              [](auto& v) {
                v.add_bos = true;
                v.bos = 8;
              }),
       "post_processor", "which no token has"},
      {"no token", edited(byte_level(), [](auto& v) { v.tokens.clear(), v.types.clear(); }), "tokenizer.ggml.tokens",
       "missing or empty"},
  };
  for (const Refusal& each : cases) {
    SCOPED_TRACE(each.what);
    const auto tokenizer = make_gguf_tokenizer(each.vocab);
    ASSERT_FALSE(tokenizer.ok());
    EXPECT_EQ(tokenizer.status().field(), each.field) << tokenizer.status().to_string();
    EXPECT_NE(tokenizer.status().message().find(each.message), std::string::npos) << tokenizer.status().message();
  }
}

}  // namespace
}  // namespace foregate
