// The page's files and what it asks for: nothing from elsewhere, an off switch, figures as JSON.
#include "engine/api/expert_board.h"
#include "server/ui/page.h"
#include "tests/server/service_fixture.h"

namespace foregate {
namespace {

using namespace test;
using PageTest = ServiceTest;

TEST_F(PageTest, ThePageNeedsNothingFromElsewhere) {
  start();
  const std::string page = ask(get("/"))->received;
  EXPECT_NE(page.find("content-type: text/html; charset=utf-8"), std::string::npos);
  EXPECT_NE(page.find("content-security-policy: default-src 'none'; script-src 'self'"), std::string::npos);
  for (const PageFile& file : page_files()) {
    EXPECT_EQ(ask(get(std::string(file.path)))->received.substr(9, 3), "200") << file.path;
    EXPECT_EQ(file.body.find("https://"), std::string_view::npos) << file.path;
    EXPECT_EQ(file.body.find(" style="), std::string_view::npos) << file.path;  // the policy forbids it
    EXPECT_EQ(file.body.find(" onclick="), std::string_view::npos) << file.path;
  }
  EXPECT_EQ(ask(get("/ui/nothing.js"))->received.substr(9, 3), "404");
}

TEST_F(PageTest, NoPage) {
  service_options.page = false;
  start();
  for (const PageFile& file : page_files()) {
    EXPECT_EQ(ask(get(std::string(file.path)))->received.substr(9, 3), "404");
  }
  EXPECT_EQ(ask(get("/v1/stats"))->received.substr(9, 3), "200");
}

TEST_F(PageTest, StatsAndExperts) {
  auto board = std::make_shared<ExpertBoard>();
  auto served = std::make_shared<ServedModel>(*parts.backend);
  served->experts = board;
  parts.backend = served;
  start();
  const auto stats = body_of(ask(get("/v1/stats"))->received);
  EXPECT_EQ(stats["running"], 0);
  EXPECT_TRUE(stats["experts"].is_null());
  EXPECT_FALSE(board->watched());
  EXPECT_FALSE(board->asked());
  const auto first = ask(get("/v1/experts"));
  const auto second = ask(get("/v1/experts"));
  EXPECT_EQ(parts.engine->refreshed, 2);
  EXPECT_TRUE(board->watched());
  EXPECT_EQ(first->received, "") << "it waits for the engine";
  board->answer({.steps = 7,
                 .watched_steps = 5,
                 .experts = {0, 2},
                 .cells = {{.place = ExpertPlace::kDisk, .ahead_useful = 1, .rows = 5, .uses = 3, .hits = 2},
                           {.place = ExpertPlace::kLoading, .ahead_wasted = 4}}});
  EXPECT_FALSE(board->asked());
  ASSERT_TRUE(loop.turn_until([&] { return !first->received.empty() && !second->received.empty(); }));
  EXPECT_EQ(body_of(first->received).dump(),
            R"({"steps":7,"watched_steps":5,"counted":true,"layers":[{"layer":1,"experts":2,"place":"dl","rows":[5,0],)"
            R"("uses":[3,0],"hits":[2,0],"ahead_useful":[1,0],"ahead_wasted":[0,4]}]})");
  EXPECT_EQ(body_of(second->received), body_of(first->received));
}

TEST_F(PageTest, AMapThatComesAfterTheEnd) {
  auto board = std::make_shared<ExpertBoard>();
  auto served = std::make_shared<ServedModel>(*parts.backend);
  served->experts = board;
  parts.backend = served;
  start();
  const auto late = ask(get("/v1/experts"));
  frontend->release_backend();
  board->answer({});
  ASSERT_TRUE(loop.turn_until([&] { return !late->received.empty(); }));
  EXPECT_EQ(late->received.substr(9, 3), "503");
}

}  // namespace
}  // namespace foregate
