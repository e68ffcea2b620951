// Chat templates against jinja2: texts that tests/golden/template/make_expected.py wrote with the
// settings of transformers. Templates of published models are not part of this repository; set
// FOREGATE_CHAT_TEMPLATES to a folder with them to compare against the digests kept for them, and
// FOREGATE_CHAT_EXPECTED to a file of full texts to see where a difference lies.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/text/chat_template.h"

namespace foregate {
namespace {

using nlohmann::ordered_json;

constexpr std::int64_t kNow = 1750000000;

std::string golden(const std::string& name) {
  return std::string(FOREGATE_SOURCE_DIR) + "/tests/golden/template/" + name;
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::string digest(std::string_view text) {
  std::uint64_t value = 0xCBF29CE484222325u;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  char buffer[20];
  std::snprintf(buffer, sizeof buffer, "%016llx", static_cast<unsigned long long>(value));
  return buffer;
}

// Around the first differing byte, for the failure message.
std::string difference(const std::string& ours, const std::string& wanted) {
  std::size_t at = 0;
  while (at < ours.size() && at < wanted.size() && ours[at] == wanted[at]) ++at;
  const std::size_t from = at < 60 ? 0 : at - 60;
  return "at byte " + std::to_string(at) + "\n  ours:   " +
         ordered_json(ours.substr(from, 160)).dump(-1, ' ', false, ordered_json::error_handler_t::replace) +
         "\n  wanted: " +
         ordered_json(wanted.substr(from, 160)).dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

struct Tally {
  int templates = 0, cases = 0, errors = 0, differences = 0;
};

bool same(const Result<RenderedChat>& ours, const ordered_json& wanted, std::string* why) {
  if (wanted.contains("error")) {
    if (!ours.ok()) return true;
    *why = "jinja2 fails with " + wanted["error"].get<std::string>() + ", ours renders";
    return false;
  }
  if (!ours.ok()) {
    *why = "ours fails: " + ours.status().to_string();
    return false;
  }
  if (wanted.contains("fnv1a")) {
    *why = "digest differs";
    return digest(ours->text) == wanted["fnv1a"];
  }
  *why = difference(ours->text, wanted["text"]);
  return ours->text == wanted["text"];
}

void compare_template(const std::string& name, const std::string& source, const ordered_json& wanted,
                      const ordered_json& conversations, Tally* tally) {
  ++tally->templates;
  auto compiled = compile_chat_template(source);
  if (wanted.contains("compile_error")) {
    EXPECT_FALSE(compiled.ok()) << name << ": jinja2 does not compile it";
    return;
  }
  if (!compiled.ok()) {
    ++tally->differences;
    ADD_FAILURE() << name << ": " << compiled.status().to_string();
    return;
  }
  for (const ordered_json& conversation : conversations) {
    const std::string& case_name = conversation["name"].get_ref<const std::string&>();
    const ordered_json& expected = wanted["cases"][case_name];
    const auto ours = (*compiled)->render(conversation["variables"], {}, kNow);
    ++tally->cases;
    tally->errors += expected.contains("error");
    std::string why;
    if (same(ours, expected, &why)) continue;
    ++tally->differences;
    ADD_FAILURE() << name << " / " << case_name << ": " << why;
  }
}

void report(const char* what, const Tally& t) {
  std::printf("%s: %d templates, %d renders (%d where jinja2 raises), %d differences\n", what, t.templates, t.cases,
              t.errors, t.differences);
}

TEST(TemplateParity, OwnTemplates) {
  const ordered_json conversations = ordered_json::parse(read_file(golden("conversations.json")));
  const ordered_json expected = ordered_json::parse(read_file(golden("expected.json")));
  Tally tally;
  for (const auto& [name, wanted] : expected.items()) {
    compare_template(name, read_file(golden("templates/" + name)), wanted, conversations, &tally);
  }
  report("own templates", tally);
  EXPECT_GE(tally.templates, 8);
  EXPECT_GE(conversations.size(), 20u);
}

bool refused_on_purpose(const std::string& source) {
  return source.find("recursive") != std::string::npos;
}

TEST(TemplateParity, Snippets) {
  const char* other = std::getenv("FOREGATE_CHAT_SNIPPETS");  // another file of the same form
  const ordered_json golden_file = ordered_json::parse(read_file(other ? other : golden("snippets.json")));
  int count = 0;
  int differences = 0;
  for (const ordered_json& entry : golden_file["snippets"]) {
    const std::string& source = entry["source"].get_ref<const std::string&>();
    auto compiled = compile_chat_template(source);
    const Result<RenderedChat> ours =
        compiled.ok() ? (*compiled)->render(golden_file["variables"], {}, kNow) : compiled.status();
    std::string why;
    ++count;
    if (same(ours, entry, &why)) continue;
    if (ours.status().code() == Code::kUnimplemented && refused_on_purpose(source)) continue;
    ++differences;
    ADD_FAILURE() << source << ": " << why;
  }
  std::printf("snippets: %d, %d differences\n", count, differences);
  EXPECT_GE(count, 400);
}

TEST(TemplateParity, PublishedTemplates) {
  const char* folder = std::getenv("FOREGATE_CHAT_TEMPLATES");
  if (!folder) GTEST_SKIP() << "FOREGATE_CHAT_TEMPLATES is not set: published templates are not in this repository";
  const char* full = std::getenv("FOREGATE_CHAT_EXPECTED");
  const ordered_json conversations = ordered_json::parse(read_file(golden("conversations.json")));
  const ordered_json expected = ordered_json::parse(read_file(full ? full : golden("published.json")));
  Tally tally;
  int absent = 0;
  for (const auto& [name, wanted] : expected.items()) {
    const std::string source = read_file(std::string(folder) + "/" + name);
    if (digest(source) != wanted["source"]) {
      ++absent;
      std::printf("%s: not in the folder, or another version\n", name.c_str());
      continue;
    }
    compare_template(name, source, wanted, conversations, &tally);
  }
  report("published templates", tally);
  EXPECT_GE(tally.templates, 1) << absent << " absent";
}

}  // namespace
}  // namespace foregate
