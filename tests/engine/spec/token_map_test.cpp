// Files that say which tokens are drafted, and guesses among these.
#include "engine/spec/token_map.h"

#include <gtest/gtest.h>

#include "engine/api/limits.h"
#include "engine/spec/greedy_guess.h"
#include "tests/engine/weights/memory_files.h"

namespace foregate {
namespace {

TEST(TokenMap, IsReadInOrder) {
  MemoryFiles files;
  files.contents["m"] = " [7, 0, 99, 3] ";
  EXPECT_EQ(read_token_map(files, "m", 100).value(), (std::vector<Token>{0, 3, 7, 99}));
}

TEST(TokenMap, NamesWhatIsWrong) {
  MemoryFiles files;
  const std::pair<const char*, const char*> cases[] = {{"[]", "array of token ids"},
                                                       {"{}", "array of token ids"},
                                                       {"[1, 2", "JSON"},
                                                       {"[1, 100]", "entry 1"},
                                                       {"[1, -1]", "entry 1"},
                                                       {"[1.5]", "entry 0"},
                                                       {"[\"1\"]", "entry 0"},
                                                       {"[18446744073709551615]", "entry 0"},
                                                       {"[4, 2, 4]", "token id 4 is there twice"}};
  for (const auto& [text, named] : cases) {
    files.contents["m"] = text;
    const Status status = read_token_map(files, "m", 100).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << text;
    EXPECT_EQ(status.field(), "speculative_config");
    EXPECT_NE(status.message().find("speculative_token_map m: "), std::string::npos) << status.message();
    EXPECT_NE(status.message().find(named), std::string::npos) << status.message();
  }
  EXPECT_NE(read_token_map(files, "gone", 100).status().message().find("gone"), std::string::npos);
  files.contents["m"] = "[1]" + std::string(kMaxTokenMapBytes - 3, ' ');
  EXPECT_TRUE(read_token_map(files, "m", 100).ok());
  files.contents["m"] += ' ';
  EXPECT_EQ(read_token_map(files, "m", 100).status().field(), "speculative_config");
}

TEST(TokenMap, GuessesAreItsTokens) {
  GreedyGuess guess({3, 8, 20, 70});
  const std::vector<float> logits = {1.0F, 3.0F, 2.5F, 3.0F};
  EXPECT_EQ(guess(logits, 100).token, 8) << "the lesser id of equals";
  const auto best = guess.best(logits, 100, 3);
  ASSERT_EQ(best.size(), 3u);
  EXPECT_EQ(best[0].token, 8);
  EXPECT_EQ(best[1].token, 70);
  EXPECT_EQ(best[2].token, 20);
  EXPECT_EQ(guess(logits, 8).token, -1) << "a token that the model does not have";
  EXPECT_EQ(guess.best(logits, 70, 3).size(), 3u);
  EXPECT_EQ(guess.best(logits, 70, 3)[1].token, 20);
}

}  // namespace
}  // namespace foregate
