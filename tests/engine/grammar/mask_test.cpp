// Masks: equal to trying every token, over the demo model's vocabulary and over made ones; states that are copied; the
// memory that is kept.
#include <random>
#include <thread>

#include "tests/engine/grammar/grammar_fixture.h"

namespace foregate::grammar {
namespace {

struct Source {
  Kind kind;
  const char* text;
};

constexpr Source kSources[] = {
    {Kind::kJsonObject, ""},
    {Kind::kJsonSchema,
     R"({"type":"object","properties":{"name":{"type":"string"},"tags":{"type":"array","items":{"enum":["a","ab","b"]}},
      "n":{"type":"number","minimum":0,"maximum":10},"s":{"type":"string","maxLength":5}},"required":["name","n"]})"},
    {Kind::kJsonSchema,
     R"({"type":"object","properties":{"the":{"type":"integer"}},"additionalProperties":{"type":"string"}})"},
    {Kind::kRegex, R"([a-z]+( [a-z]+)*\.)"},
    {Kind::kRegex, R"((the|a) (king|queen)[^"]{3,9})"},
    {Kind::kChoice, R"(["the", "there", "then", "once upon a time"])"},
    {Kind::kGbnf, "root ::= word (\" \" word)* \".\"\nword ::= [a-z]+ | \"(\" root \")\""},
    {Kind::kGbnf, "root ::= \"a\" root \"b\" | \"\""},
    {Kind::kGbnf, "root ::= item+\nitem ::= \"- \" [^\\n]+ \"\\n\""},
};

// What trying each token on a copy says.
std::vector<bool> tried(const ConstraintState& state, const Vocabulary& vocabulary) {
  std::vector<bool> fits(vocabulary.tokens.size());
  for (std::size_t id = 0; id < fits.size(); ++id) fits[id] = state.clone()->accept(static_cast<Token>(id)).ok();
  return fits;
}

void expect_equal_masks(GrammarCompiler& compiler, const Vocabulary& vocabulary, const Source& source, int steps,
                        std::uint32_t seed) {
  auto made = compiler.compile({source.kind, source.text});
  ASSERT_TRUE(made.ok()) << source.text << " " << made.status().to_string();
  std::mt19937 random(seed);
  auto state = (*made)->start();
  for (int step = 0; step < steps; ++step) {
    const std::vector<bool> fits = tried(*state, vocabulary);
    auto mask = state->allowed();
    ASSERT_TRUE(mask.ok()) << mask.status().to_string();
    std::vector<Token> choices;
    for (std::size_t id = 0; id < fits.size(); ++id) {
      if (static_cast<std::int32_t>(id) == vocabulary.end_ids[0]) continue;
      ASSERT_EQ(bit(*mask, static_cast<Token>(id)), fits[id])
          << source.text << " step " << step << " token " << id << " '" << vocabulary.tokens[id] << "'";
      if (fits[id]) choices.push_back(static_cast<Token>(id));
    }
    ASSERT_TRUE(!choices.empty() || bit(*mask, vocabulary.end_ids[0])) << "a dead end";
    if (choices.empty()) {
      EXPECT_TRUE(state->complete());
      return;
    }
    EXPECT_FALSE(state->complete());
    ASSERT_TRUE(state->accept(choices[random() % choices.size()]).ok());
  }
}

TEST(Mask, EqualsTryingEveryTokenOfTheDemoModel) {
  const Vocabulary vocabulary = demo_vocabulary();
  GrammarCompiler compiler(vocabulary);
  std::uint32_t seed = 1;
  for (const Source& source : kSources) {
    for (int run = 0; run < 3; ++run) expect_equal_masks(compiler, vocabulary, source, 12, seed++);
  }
  EXPECT_GT(compiler.figures().masks_computed, 50u);
}

TEST(Mask, EqualsTryingEveryTokenOfMadeVocabularies) {
  // Tokens that begin and end anywhere in JSON, so that many of them reach past the end of a rule.
  std::mt19937 random(7);
  const std::string letters = "ab \"\\{}[]:,.-01\nthen";
  for (int round = 0; round < 3; ++round) {
    std::vector<std::string> more;
    for (int i = 0; i < 1500; ++i) {
      std::string token;
      for (std::uint32_t k = 0; k < 2 + random() % 4; ++k) token.push_back(letters[random() % letters.size()]);
      more.push_back(token);
    }
    more.push_back(std::string(80, 'a'));
    more.push_back(std::string(40, 'b') + "\",");
    const Vocabulary vocabulary = byte_vocabulary(more);
    GrammarCompiler compiler(vocabulary);
    for (const Source& source : kSources) expect_equal_masks(compiler, vocabulary, source, 12, random());
  }
}

TEST(Mask, IsTheSameWhateverIsPreparedAndKept) {
  // Limits so tight that nothing is classified ahead or kept, and masks are given up at once.
  const Vocabulary vocabulary = demo_vocabulary();
  GrammarLimits tight;
  tight.prepare_visits = 0;
  tight.classified_bytes = 0;
  tight.mask_bytes = 0;
  GrammarCompiler compiler(vocabulary, tight);
  for (const Source& source : kSources) expect_equal_masks(compiler, vocabulary, source, 6, 5);
}

TEST(Mask, ALongStringStaysWithinItsLength) {
  const Vocabulary vocabulary =
      byte_vocabulary({std::string(8, 'x'), std::string(64, 'x'), "xx\"", std::string(50, 'x') + "\""});
  GrammarCompiler compiler(vocabulary);
  const Source source{Kind::kJsonSchema, R"({"type":"string","minLength":90,"maxLength":200})"};
  for (std::uint32_t seed = 1; seed <= 5; ++seed) expect_equal_masks(compiler, vocabulary, source, 200, seed);
}

// What lies behind a string decides for all the tokens that end it alike.
TEST(Mask, ACallerDecidesOnceForTokensThatGoOnAlike) {
  std::vector<std::string> more;
  for (int i = 0; i < 3000; ++i) more.push_back("w" + std::to_string(i) + "\"" + (i % 2 == 0 ? "," : "]"));
  GrammarLimits limits;
  auto grammar =
      parse_grammar({Kind::kJsonSchema, R"({"type":"array","items":{"type":"string"},"maxItems":2})"}, limits);
  ASSERT_TRUE(grammar.ok());
  auto automaton = build_automaton(*grammar, limits);
  ASSERT_TRUE(automaton.ok());
  const TokenTrie trie(byte_vocabulary(more));
  NodeClasses classes(*automaton, trie, limits);
  std::size_t strings = 0;
  for (NodeId node = 0; node < automaton->nodes.size(); ++node) {
    const NodeTokens& tokens = classes.of(node);
    ASSERT_TRUE(tokens.known);
    if (tokens.leaving == nullptr) continue;
    EXPECT_LE(tokens.leaving->rests.size(), 4u) << node;
    if (tokens.leaving->masks.size() + tokens.leaving->ids.size() > 0 && tokens.leaving->rests.size() == 2) ++strings;
  }
  EXPECT_GE(strings, 1u);
}

// A rule that thousands of others end with, and a text of thousands of places: what is outside is looked for once.
TEST(Mask, LongRowsOfRulesAreClassifiedInTime) {
  std::string optional = R"({"properties":{)";
  for (int i = 0; i < 1500; ++i)
    optional += std::string(i > 0 ? "," : "") + "\"p" + std::to_string(i) + "\":{\"type\":\"integer\"}";
  const std::string list = R"({"type":"array","maxItems":1500,"items":{"type":"string","maxLength":1500}})";
  GrammarLimits limits;
  limits.prepare_visits = limits.prepare_walks = std::uint64_t{1} << 40;
  const Vocabulary vocabulary = byte_vocabulary({"\",", "\", \"", "\"]", "1}", "1,"});
  for (const std::string& schema : {optional + "}}", list}) {
    auto grammar = parse_grammar({Kind::kJsonSchema, schema}, limits);
    ASSERT_TRUE(grammar.ok());
    auto automaton = build_automaton(*grammar, limits);
    ASSERT_TRUE(automaton.ok());
    const TokenTrie trie(vocabulary);
    NodeClasses classes(*automaton, trie, limits);
    classes.prepare();
    EXPECT_LT(classes.visits(), 600 * automaton->nodes.size());
    EXPECT_LT(classes.situations(), 4 * automaton->nodes.size());
  }
}

TEST(State, ACopyGoesItsOwnWay) {
  const auto constraint = compiled(Kind::kGbnf, "root ::= \"a\" root \"b\" | \"c\"");
  auto state = constraint->start();
  ASSERT_TRUE(state->accept('a').ok());
  const auto copy = state->clone();
  ASSERT_TRUE(state->accept('c').ok());
  EXPECT_FALSE(state->accept('a').ok());  // and changes nothing
  ASSERT_TRUE(copy->accept('a').ok());
  ASSERT_TRUE(state->accept('b').ok());
  EXPECT_TRUE(state->complete());
  EXPECT_FALSE(copy->complete());
  EXPECT_FALSE(state->accept(256).ok());
  EXPECT_FALSE(state->accept(-1).ok());
  EXPECT_FALSE(state->accept(1'000'000).ok());
}

TEST(Compiler, KeepsWhatIsUsedWithinItsBytes) {
  GrammarCompiler compiler(byte_vocabulary(), {}, 200'000);
  ASSERT_TRUE(compiler.compile({Kind::kJsonObject, ""}).ok());
  ASSERT_TRUE(compiler.compile({Kind::kJsonObject, ""}).ok());
  EXPECT_EQ(compiler.figures().compiles, 1u);
  EXPECT_EQ(compiler.figures().cache_hits, 1u);
  for (int i = 0; i < 2000; ++i) {
    ASSERT_TRUE(compiler.compile({Kind::kJsonSchema, R"({"const":)" + std::to_string(i) + "}"}).ok());
    ASSERT_LT(compiler.figures().cached_bytes, 400'000u);
  }
  EXPECT_LE(compiler.figures().cached, GrammarCompiler::kCacheEntries);
  EXPECT_FALSE(compiler.compile({Kind::kRegex, "("}).ok());
  EXPECT_EQ(compiler.figures().failures, 1u);
}

TEST(Compiler, SituationsArePutAsideBeforeTheyAreTooMany) {
  GrammarLimits few;
  few.states = 400;
  few.stacks = 400;
  GrammarCompiler compiler(byte_vocabulary(), few);
  auto made = compiler.compile({Kind::kJsonObject, ""});
  ASSERT_TRUE(made.ok());
  for (int i = 0; i < 100; ++i) {  // each text has situations of its own; what is held stays bounded
    std::string text = "{\"k\":";
    for (int depth = 0; depth < 10; ++depth) text += (i >> depth & 1) != 0 ? "[" : "{\"a\":";
    auto state = (*made)->start();
    for (const char c : text) ASSERT_TRUE(state->accept(c).ok()) << i;
  }
  EXPECT_LT(compiler.figures().cached_bytes, 2'000'000u);
}

TEST(Compiler, ThreadsShareAGrammar) {
  GrammarCompiler compiler(byte_vocabulary());
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&compiler, &good] {
      for (int round = 0; round < 50; ++round) {
        auto made = compiler.compile({Kind::kJsonSchema, R"({"type":"array","items":{"type":"integer"}})"});
        if (made.ok() && matches(**made, "[1, 2, 34]") && !matches(**made, "[1, x]")) ++good;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good.load(), 200);
}

}  // namespace
}  // namespace foregate::grammar
