// Nothing outside the values given can be reached, and broken templates never crash or hang.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "tests/engine/template/helpers.h"

namespace foregate {
namespace {

using nlohmann::ordered_json;

ordered_json variables() {
  return {{"s", "text"},
          {"n", 3},
          {"f", 1.5},
          {"l", {1, "a"}},
          {"d", {{"k", 1}}},
          {"no", nullptr},
          {"messages", {{{"role", "user"}, {"content", "Hi"}}}}};
}

TEST(TemplateSandbox, DunderChainsReachNothing) {
  const char* values[] = {"s",
                          "n",
                          "f",
                          "l",
                          "d",
                          "no",
                          "range",
                          "namespace(a=1)",
                          "dict",
                          "s.upper",
                          "(1, 2)",
                          "missing",
                          "cycler(1)",
                          "joiner()",
                          "d.items()",
                          "raise_exception",
                          "l | map('string')",
                          "range(3)"};
  const char* chains[] = {".__class__.__mro__",
                          ".__class__.__base__.__subclasses__()",
                          ".__init__.__globals__",
                          "['__class__']['__mro__']",
                          ".__globals__.os",
                          ".func_globals.x",
                          ".__dict__.x",
                          ".__getattribute__('x')",
                          ".gi_frame.f_back",
                          ".__code__.co_consts",
                          ".mro().x"};
  for (const std::string value : values) {
    for (const std::string chain : chains) {
      const std::string source = "{{ (" + value + ")" + chain + " }}";
      EXPECT_FALSE(render_source(source, variables()).ok()) << source;
    }
    const auto printed = render_source("{{ (" + value + ").__class__ }}", variables());
    EXPECT_TRUE(!printed.ok() || printed->text.empty()) << value;
  }
}

TEST(TemplateSandbox, EveryFilterRefusesDunderNames) {
  const char* filters[] = {"abs",
                           "attr('__class__')",
                           "batch(2)",
                           "capitalize",
                           "center",
                           "count",
                           "d",
                           "default",
                           "dictsort",
                           "e",
                           "escape",
                           "first",
                           "float",
                           "format",
                           "groupby('__class__')",
                           "indent",
                           "int",
                           "join(attribute='__class__')",
                           "last",
                           "length",
                           "list",
                           "lower",
                           "items",
                           "map(attribute='__class__')",
                           "map('attr', '__class__')",
                           "min(attribute='__class__')",
                           "max(attribute='__class__')",
                           "reject",
                           "rejectattr('__class__')",
                           "replace('a', 'b')",
                           "reverse",
                           "round",
                           "safe",
                           "select",
                           "selectattr('__class__')",
                           "slice(2)",
                           "sort(attribute='__class__')",
                           "string",
                           "sum(attribute='__class__')",
                           "title",
                           "trim",
                           "truncate",
                           "unique(attribute='__class__')",
                           "upper",
                           "urlencode",
                           "wordcount",
                           "tojson"};
  for (const std::string value : {"s", "l", "d", "messages", "n", "missing"}) {
    for (const std::string filter : filters) {
      const std::string source = "{{ ((" + value + " | " + filter + ") | list).__class__.__mro__ }}";
      EXPECT_FALSE(render_source(source, variables()).ok()) << source;
      const auto printed = render_source("{{ " + value + " | " + filter + " }}", variables());
      if (printed.ok()) {
        EXPECT_EQ(printed->text.find("<class"), std::string::npos) << filter;
      }
    }
  }
}

TEST(TemplateSandbox, FormatCannotWalk) {
  for (const char* source : {"{{ '{0.__class__.__mro__}'.format(s) }}", "{{ '{0[__class__][x]}'.format(s) }}",
                             "{{ '{a.__init__.x}'.format(a=s) }}",
                             "{{ ['{0.__class__.x}'] | map('format', s) | list }}{{ '{0.__class__.x}'.format(s) }}",
                             "{{ '%(__class__)s' % s }}"}) {
    EXPECT_FALSE(render_source(source, variables()).ok()) << source;
  }
}

TEST(TemplateSandbox, InputsCannotBeChanged) {
  for (const char* source : {"{{ l.append(1) }}",
                             "{{ l.extend([1]) }}",
                             "{{ l.insert(0, 1) }}",
                             "{{ l.pop() }}",
                             "{{ l.remove(1) }}",
                             "{{ l.sort() }}",
                             "{{ l.reverse() }}",
                             "{{ l.clear() }}",
                             "{{ d.update({}) }}",
                             "{{ d.pop('k') }}",
                             "{{ d.popitem() }}",
                             "{{ d.setdefault('q', 1) }}",
                             "{{ d.clear() }}",
                             "{% set d.k = 2 %}",
                             "{% set l.x = 2 %}",
                             "{{ messages[0].update({'role': 'system'}) }}",
                             "{{ l['append'](1) }}",
                             "{{ (l | attr('append'))(1) }}",
                             "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
                             "{% set ns = namespace(**{'_x': 1}) %}"}) {
    EXPECT_FALSE(render_source(source, variables()).ok()) << source;
  }
}

TEST(TemplateSandbox, UnknownNamesAreRefusedAtCompile) {
  const auto refused = [](const char* source, const char* name, int line) {
    const Status status = compile_chat_template(source).status();
    EXPECT_EQ(status.code(), Code::kUnimplemented) << source;
    EXPECT_NE(status.message().find(name), std::string::npos) << status.message();
    EXPECT_NE(status.message().find("line " + std::to_string(line)), std::string::npos) << status.message();
  };
  refused("a\nb\n{{ x | pprint }}", "pprint", 3);
  refused("{{ x | xmlattr }}", "xmlattr", 1);
  refused("{{ x | map('random') }}", "random", 1);
  refused("{{ x | selectattr('a', 'funny') }}", "funny", 1);
  refused("\n{{ x is funny }}", "funny", 2);
  refused("\n\n{% include 'x' %}", "include", 3);
  for (const char* tag : {"extends", "import", "from", "block", "autoescape", "do", "trans", "debug", "macroo"}) {
    refused(("{% " + std::string(tag) + " x %}").c_str(), tag, 1);
  }
  refused("{% for x in y recursive %}{% endfor %}", "recursive", 1);
  refused("{{ x.encode('utf-8') }}", "encode", 1);
  refused("{{ x.format_map(y) }}", "format_map", 1);
  refused("{{ lipsum() }}", "lipsum", 1);
  refused("{{ '\\N{DASH}' }}", "\\N", 1);
}

TEST(TemplateSandbox, SyntaxErrorsNameTheLine) {
  const char* sources[] = {"\n{{ 1 + }}",     "\n{% if x %}",      "\n{{ 'abc }}",   "\n{{ ) }}",
                           "\n{% endif %}",   "\n{# open",         "\n{% raw %} x",  "\n{{ 1 $ 2 }}",
                           "\n{% for x y %}", "\n{% set 1 = 2 %}", "\n{% break %}",  "\n{{ x.}}",
                           "\n{{ {1} }}",     "\n{{ '\\ud800' }}", "\n{{ '\\xq' }}", "\n{{ f(a=1, 2) }}"};
  for (const char* source : sources) {
    const Status status = compile_chat_template(source).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << source;
    EXPECT_NE(status.message().find("line 2"), std::string::npos) << source << ": " << status.message();
  }
  EXPECT_EQ(compile_chat_template("\xff").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(compile_chat_template(std::string((1u << 20) + 1, 'a')).status().code(), Code::kInvalidArgument);
}

TEST(TemplateSandbox, RaisedMessageIsVerbatim) {
  const Status status = render_source("\n\n{{ raise_exception('only ' ~ n ~ ' turns') }}", variables()).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.message(), "only 3 turns");
}

TEST(TemplateSandbox, RuntimeErrorsNameTheLine) {
  const Status status = render_source("\n\n{{ no.x.y }}", variables()).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(status.message().find("line 3"), std::string::npos) << status.message();
}

std::vector<std::string> seeds() {
  std::vector<std::string> sources;
  const char* published = std::getenv("FOREGATE_CHAT_TEMPLATES");
  for (const std::string& folder : {std::string(FOREGATE_SOURCE_DIR) + "/tests/golden/template/templates",
                                    std::string(published ? published : "")}) {
    if (folder.empty()) continue;
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    for (const auto& path : paths) {
      std::ostringstream text;
      text << std::ifstream(path, std::ios::binary).rdbuf();
      sources.push_back(text.str());
    }
  }
  return sources;
}

// Puts another word of the same text in the place of the word at or after `at`.
void replace_word(std::string& text, std::size_t at, std::mt19937_64& random) {
  const auto word = [&text](std::size_t from) {
    const auto is_word = [&text](std::size_t i) { return std::isalnum(static_cast<unsigned char>(text[i])) != 0; };
    while (from < text.size() && !is_word(from)) ++from;
    std::size_t end = from;
    while (end < text.size() && is_word(end)) ++end;
    return std::pair(from, end - from);
  };
  const auto [from, size] = word(at);
  const auto [other, other_size] = word(random() % text.size());
  text.replace(from, size, text.substr(other, other_size));
}

std::string mutate(const std::vector<std::string>& sources, std::mt19937_64& random) {
  static const char* const kPieces[] = {"{%",       "%}",
                                        "{{",       "}}",
                                        "-%}",      "{#",
                                        "#}",       "(",
                                        ")",        "[",
                                        "]",        "{",
                                        "}",        "|",
                                        ".",        "\"",
                                        "'",        "\\",
                                        " is ",     " not ",
                                        " in ",     " if ",
                                        " else ",   "for x in ",
                                        "*",        "**",
                                        "[::-1]",   "[1:",
                                        "~",        "+",
                                        "-",        "9223372036854775807",
                                        "1e308",    ".__class__",
                                        "\xff",     "é",
                                        "|list",    "|tojson",
                                        "|join",    "loop.last",
                                        "caller()", "{% endfor %}",
                                        "range("};
  std::string text = sources[random() % sources.size()];
  const int edits = 1 + static_cast<int>(random() % 3);
  for (int i = 0; i < edits && !text.empty(); ++i) {
    const std::size_t at = random() % text.size();
    const std::size_t size = random() % 24;
    switch (random() % 12) {
      case 0: text.erase(at, size); break;
      case 1:
      case 2:
      case 3: text.insert(at, kPieces[random() % std::size(kPieces)]); break;
      case 4: text[at] = static_cast<char>(random()); break;
      case 5: text.insert(at, text, random() % text.size(), size * 4); break;
      case 6: text.resize(at); break;
      default: replace_word(text, at, random); break;
    }
  }
  return text;
}

TEST(TemplateSandbox, MutationsNeverCrashOrHang) {
  const std::vector<std::string> sources = seeds();
  ASSERT_GE(sources.size(), 8u);
  std::ifstream file(std::string(FOREGATE_SOURCE_DIR) + "/tests/golden/template/conversations.json");
  const ordered_json conversations = ordered_json::parse(file);
  constexpr int kMutations = 6000;
  std::mt19937_64 random(20240711);
  TemplateBudget budget;
  budget.operations = 200'000;
  int compiled_count = 0;
  int rendered = 0;
  for (int i = 0; i < kMutations; ++i) {
    auto compiled = compile_chat_template(mutate(sources, random));
    if (!compiled.ok()) {
      EXPECT_NE(compiled.status().code(), Code::kInternal);
      continue;
    }
    ++compiled_count;
    const ordered_json& conversation = conversations[random() % conversations.size()];
    const auto result = (*compiled)->render(conversation["variables"], budget, 1750000000);
    rendered += result.ok();
  }
  std::printf("%d mutations of %zu templates: %d compiled, %d rendered\n", kMutations, sources.size(), compiled_count,
              rendered);
  EXPECT_GT(compiled_count, kMutations / 20);
  EXPECT_LT(compiled_count, kMutations);
}

TEST(TemplateSandbox, OneTemplateManyThreads) {
  auto compiled = compile_chat_template(
      "{% set c = 'Größe ' %}{% for m in messages %}{{ c[::-1] ~ m.content | length }}{% endfor %}");
  ASSERT_TRUE(compiled.ok());
  std::vector<std::thread> threads;
  std::vector<std::string> texts(4);
  for (std::size_t t = 0; t < texts.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) texts[t] = (*compiled)->render(variables()).value().text;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& text : texts) EXPECT_EQ(text, " eßörG2");
}

}  // namespace
}  // namespace foregate
