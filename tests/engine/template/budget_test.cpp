// Hostile templates and inputs end with an error, soon and in little memory.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <ctime>
#include <functional>

#include "tests/engine/template/helpers.h"

namespace foregate {
namespace {

using nlohmann::ordered_json;

std::string repeat(std::string_view text, std::size_t times) {
  std::string out;
  out.reserve(text.size() * times);
  for (std::size_t i = 0; i < times; ++i) out += text;
  return out;
}

// Processor time: the figure does not depend on what else the machine does.
double seconds_of(const std::function<void()>& work) {
  const std::clock_t start = std::clock();
  work();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

long peak_kilobytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kSeconds = 20;
#else
constexpr double kSeconds = 2;
#endif

void expect_exhausted(const std::string& source, const ordered_json& variables = ordered_json::object()) {
  const std::string shown = source.substr(0, 120);
  const double spent = seconds_of([&] {
    const auto result = render_source(source, variables);
    ASSERT_FALSE(result.ok()) << shown;
    EXPECT_EQ(result.status().code(), Code::kResourceExhausted) << shown << ": " << result.status().to_string();
  });
  EXPECT_LT(spent, kSeconds) << shown;
}

TEST(TemplateBudget, RangesAndLoops) {
  expect_exhausted("{% for x in range(1000000000) %}{% endfor %}");
  expect_exhausted("{{ range(-9223372036854775807, 9223372036854775807) | length }}");
  expect_exhausted("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}");
  expect_exhausted("{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}");
  expect_exhausted(
      "{% for a in range(99999) %}{{ range(99999) | list | sort | map('string') | join | length }}{% endfor %}");
  expect_exhausted("{{ range(99999) | list * 99999 }}");
  expect_exhausted("{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor %}");
}

TEST(TemplateBudget, TextGrowth) {
  expect_exhausted("{{ 'a' * 1000000000000 }}");
  expect_exhausted("{{ 'a' * 9223372036854775807 }}");
  expect_exhausted("{{ 'ab' * 9223372036854775807 }}");
  expect_exhausted("{% set ns = namespace(s='aa') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}");
  expect_exhausted(
      "{% set ns = namespace(s='aa') %}{% for i in range(99) %}{% set ns.s = ns.s.replace('a', 'aaaa') %}{% endfor %}");
  expect_exhausted(
      "{% set ns = namespace(s='aa') %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s] | join(ns.s) %}{% endfor %}");
  expect_exhausted("{% set s = 'a' * 1000000 %}{% for i in range(99) %}{{ s }}{% endfor %}");
  expect_exhausted("{% set s = 'a' * 1000000 %}{% for i in range(9999) %}{% set t = s ~ i %}{% endfor %}");
  expect_exhausted("{% set s = 'a' * 9000000 %}{% for i in range(99999) %}{% set t = s.upper() %}{% endfor %}");
  expect_exhausted("{% set s = 'a' * 9000000 %}{% for i in range(99999) %}{% set t = 'b' in s %}{% endfor %}");
  expect_exhausted(
      "{% set s = 'a' * 9000000 %}{% set t = 'a' * 9000000 %}{% for i in range(99999) %}{{ s == t and '' }}{% endfor "
      "%}");
  expect_exhausted("{{ ('a' * 9000000).split('a') | length }}");
  expect_exhausted("{{ ('é' * 4000000) | list | length }}");
  expect_exhausted("{% set s = 'é' * 4000000 %}{% for i in range(99999) %}{% set t = s[3999999] %}{% endfor %}");
}

TEST(TemplateBudget, Widths) {
  expect_exhausted("{{ 'a' | indent(9223372036854775807, true) }}");
  expect_exhausted("{{ 'a\nb\nc' | indent(9000000) }}");
  expect_exhausted("{{ [[[[1]]]] | tojson(indent=100000000) }}");
  expect_exhausted("{{ [1, 2] | tojson(indent='x' * 9000000) }}");
  for (const char* method : {"ljust", "rjust", "center", "zfill"}) {
    expect_exhausted("{{ 'a'." + std::string(method) + "(1000000000) }}");
  }
  expect_exhausted("{{ 'a' | center(1000000000000) }}");
  expect_exhausted("{{ '%1000000000d' % 1 }}");
  expect_exhausted("{{ '%.1000000000f' % 1 }}");
  expect_exhausted("{{ '{:1000000000}'.format('a') }}");
  expect_exhausted("{{ '{:.999999999f}'.format(1.5) }}");
  expect_exhausted("{{ [1] | batch(9000000000, 'x') | list }}");
  expect_exhausted("{{ [1] | slice(9000000000, 'x') | list }}");
  expect_exhausted("{{ 1.5 | round(400, 'ceil') }}");
}

TEST(TemplateBudget, Numbers) {
  expect_exhausted("{{ 9223372036854775807 + 1 }}");
  expect_exhausted("{{ 10 ** 400 }}");
  expect_exhausted("{{ 2 ** 63 }}");
  expect_exhausted("{{ -(-9223372036854775807 - 1) }}");
  expect_exhausted("{{ (-9223372036854775807 - 1) // -1 }}");
  expect_exhausted("{{ '99999999999999999999' | int }}");
  expect_exhausted("{{ 1e300 | int }}");
  EXPECT_EQ(render_source("{{ (-9223372036854775807 - 1) % -1 }}").value().text, "0");
}

TEST(TemplateBudget, MacrosAndNesting) {
  expect_exhausted("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}");
  expect_exhausted("{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}");
  expect_exhausted("{% macro m(x=m()) %}{% endmacro %}{{ m() }}");
  expect_exhausted("{% macro m() %}{% call m() %}{% endcall %}{{ caller }}{% endmacro %}{{ m() }}");
  expect_exhausted("{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}");
  const std::pair<const char*, const char*> nests[] = {{"(", ")"},    {"[", "]"},        {"{1:", "}"}, {"-", ""},
                                                       {"not ", ""},  {"1+(", ")"},      {"x[", "]"},  {"x(", ")"},
                                                       {"x|d(", ")"}, {"x is in (", ")"}};
  for (const auto& [open, close] : nests) {
    expect_exhausted("{{ " + repeat(open, 100000) + "1" + repeat(close, 100000) + " }}");
    EXPECT_FALSE(compile_chat_template("{{ " + repeat(open, 100000) + "1 }}").ok());
  }
  expect_exhausted(repeat("{% if 1 %}", 100000));
  expect_exhausted(repeat("{% for x in y %}", 50000));
  expect_exhausted("{{ 1" + repeat("+1", 100000) + " }}");
  expect_exhausted("{{ x" + repeat(".x", 100000) + " }}");
  expect_exhausted("{{ x" + repeat("|d", 100000) + " }}");
  expect_exhausted("{{ 1" + repeat(" if 1 else 1", 50000) + " }}");
  expect_exhausted("{% set " + repeat("(", 100000) + "x" + repeat(")", 100000) + " = 1 %}");
  EXPECT_TRUE(render_source("{{ 1" + repeat(" ~ 1", 5000) + " }}").ok());
  EXPECT_TRUE(render_source(repeat("{% if 0 %}{% endif %}", 20000)).ok());
}

TEST(TemplateBudget, ValuesNestedDeeply) {
  const std::string deep =
      "{% set ns = namespace(v=1) %}{% for i in range(50000) %}{% set ns.v = [ns.v] %}{% endfor %}";
  expect_exhausted(deep + "{{ ns.v }}");
  expect_exhausted(deep + "{{ ns.v | tojson }}");
  expect_exhausted(deep + "{{ ns.v == [ns.v] }}");
  expect_exhausted(deep + "{{ ns.v < [ns.v] }}");
  EXPECT_TRUE(render_source(deep + "ok").ok());
  const std::string wide =
      "{% set ns = namespace(a=1, b=1) %}{% for i in range(150) %}{% set ns.a = (ns.a, ns.a) %}"
      "{% set ns.b = (ns.b, ns.b) %}{% endfor %}";
  expect_exhausted(wide + "{{ ns.a == ns.b }}");
  expect_exhausted(wide + "{{ ns.a < ns.b }}");
  expect_exhausted(wide + "{{ {ns.a: 1}[ns.b] }}");
  expect_exhausted(wide + "{{ ns.a }}");
  expect_exhausted("{% set ns = namespace() %}{% set ns.self = ns %}{{ ns }}");
}

TEST(TemplateBudget, Inputs) {
  ordered_json nested = 1;
  for (int i = 0; i < 5000; ++i) nested = ordered_json::array({std::move(nested)});
  EXPECT_EQ(render_source("x", {{"extra", nested}}).status().code(), Code::kResourceExhausted);
  EXPECT_EQ(render_source("x", {{"extra", "\xff\xfe"}}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(render_source("x", {{"extra", {{"\xc0\xaf", 1}}}}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(render_source("x", ordered_json::array()).status().code(), Code::kInvalidArgument);
}

TEST(TemplateBudget, TenThousandMessagesRender) {
  ordered_json messages = ordered_json::array();
  for (int i = 0; i < 10000; ++i)
    messages.push_back({{"role", i % 2 ? "assistant" : "user"}, {"content", "some words"}});
  const double spent = seconds_of([&] {
    const auto result = render_source(
        "{% for m in messages %}<{{ m.role }}>{{ m['content'] | trim + '\n' }}{% if loop.last %}.{% endif %}{% endfor "
        "%}",
        {{"messages", messages}});
    ASSERT_TRUE(result.ok()) << result.status().to_string();
    EXPECT_GT(result->text.size(), 170000u);
  });
  EXPECT_LT(spent, kSeconds);
}

TEST(TemplateBudget, OwnBudgetIsKept) {
  TemplateBudget small;
  small.operations = 100;
  EXPECT_EQ(render_source("{% for i in range(90) %}{{ i }}{% endfor %}", ordered_json::object(), small).status().code(),
            Code::kResourceExhausted);
  small = {};
  small.output_bytes = 10;
  EXPECT_EQ(render_source("12345678901", ordered_json::object(), small).status().code(), Code::kResourceExhausted);
  EXPECT_TRUE(render_source("1234567890", ordered_json::object(), small).ok());
  small = {};
  small.depth = 3;
  const char* nest = "{% macro f(k) %}{{ k }}{% if k %}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(2) }}";
  EXPECT_EQ(render_source(nest, ordered_json::object(), small).value().text, "210");
  small.depth = 2;
  EXPECT_EQ(render_source(nest, ordered_json::object(), small).status().code(), Code::kResourceExhausted);
}

// Runs last by name: the whole file above must not have needed much memory.
TEST(TemplateBudget, ZPeakMemory) {
  std::printf("peak memory %ld MiB\n", peak_kilobytes() / 1024);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(peak_kilobytes(), 512 * 1024);
#endif
}

}  // namespace
}  // namespace foregate
