#include "engine/grammar/compile.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "engine/api/limits.h"
#include "engine/grammar/gbnf.h"
#include "engine/grammar/json_schema.h"
#include "engine/grammar/regex.h"
#include "engine/grammar/tool_calls.h"

namespace foregate {
namespace {

Result<nlohmann::ordered_json> parse_json(const std::string& text, std::size_t most_bytes) {
  if (text.size() > most_bytes) return invalid_argument("is longer than " + std::to_string(most_bytes) + " bytes");
  auto json = nlohmann::ordered_json::parse(text, nullptr, false);
  if (json.is_discarded()) return invalid_argument("is not valid JSON");
  return json;
}

Result<grammar::Grammar> grammar_of_choice(const std::string& text, const grammar::GrammarLimits& limits) {
  ASSIGN_OR_RETURN(const auto list, parse_json(text, limits.source_bytes));
  if (!list.is_array() || list.empty()) return invalid_argument("must be a list of strings that is not empty");
  if (list.size() > kMaxFormChoices)
    return invalid_argument("has more than " + std::to_string(kMaxFormChoices) + " entries");
  grammar::Grammar grammar;
  std::vector<grammar::ExprId> choices;
  for (const auto& one : list) {
    if (!one.is_string()) return invalid_argument("must be a list of strings");
    choices.push_back(grammar.text(one.get_ref<const std::string&>()));
  }
  grammar.set_root(grammar.add_rule(grammar.choice(std::move(choices))));
  return grammar;
}

Result<grammar::Grammar> grammar_of_regex(const std::string& text, const grammar::GrammarLimits& limits) {
  grammar::Grammar grammar;
  ASSIGN_OR_RETURN(const grammar::ExprId body, parse_regex(text, grammar::RegexUse::kWholeText, limits, grammar));
  grammar.set_root(grammar.add_rule(body));
  return grammar;
}

Result<grammar::Grammar> grammar_of_form(const GrammarSpec& spec, const grammar::GrammarLimits& limits) {
  switch (spec.kind) {
    case GrammarSpec::Kind::kJsonObject: return grammar::grammar_of_any_object();
    case GrammarSpec::Kind::kRegex: return grammar_of_regex(spec.text, limits);
    case GrammarSpec::Kind::kChoice: return grammar_of_choice(spec.text, limits);
    case GrammarSpec::Kind::kGbnf: return grammar::parse_gbnf(spec.text, limits);
    case GrammarSpec::Kind::kToolCalls:
    case GrammarSpec::Kind::kJsonSchema: break;
  }
  ASSIGN_OR_RETURN(const auto json, parse_json(spec.text, limits.source_bytes));
  if (spec.kind == GrammarSpec::Kind::kToolCalls) return grammar::grammar_of_calls(json, limits);
  return grammar::grammar_of_schema(json, limits);
}

std::string key_of(const GrammarSpec& spec) {
  std::string key = std::to_string(static_cast<int>(spec.kind));
  if (!spec.before.close.empty()) key += "<" + spec.before.open + "\n" + spec.before.close + "\n";
  if (!spec.calls.empty()) key += "|" + std::to_string(spec.calls.size()) + " " + spec.calls;
  return key + spec.text;
}

// One automaton decides: the first bytes say whether it is calls or the form.
Status allow_calls(const std::string& text, const grammar::GrammarLimits& limits, grammar::Grammar& grammar) {
  const auto tools = [](const Status& status) { return Status(status.code(), status.message(), "tools"); };
  auto json = parse_json(text, limits.source_bytes);
  if (!json.ok()) return tools(json.status());
  auto calls = grammar::parse_calls(*json, limits, grammar);
  if (!calls.ok()) return tools(calls.status());
  grammar.set_root(grammar.add_rule(grammar.choice({*calls, grammar.rule(grammar.root())})));
  return {};
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Result<grammar::Grammar> parse_grammar(const GrammarSpec& spec, const grammar::GrammarLimits& limits) {
  ASSIGN_OR_RETURN(grammar::Grammar grammar, grammar_of_form(spec, limits));
  if (!spec.calls.empty()) RETURN_IF_ERROR(allow_calls(spec.calls, limits, grammar));
  if (!spec.before.close.empty()) grammar::allow_before(spec.before, grammar);
  return grammar;
}

GrammarCompiler::GrammarCompiler(grammar::Vocabulary vocabulary, grammar::GrammarLimits limits, std::size_t cache_bytes)
    : limits_(limits),
      cache_bytes_(cache_bytes),
      trie_(std::make_shared<const grammar::TokenTrie>(std::move(vocabulary))),
      masks_(std::make_shared<grammar::MaskFigures>()) {}

Result<std::shared_ptr<const TokenConstraint>> GrammarCompiler::compile(const GrammarSpec& spec) {
  std::string key = key_of(spec);
  if (auto known = cached(key)) return known;
  const double begin = now_seconds();
  auto parsed = parse_grammar(spec, limits_);
  auto automaton = parsed.ok() ? build_automaton(*parsed, limits_) : Result<grammar::Automaton>(parsed.status());
  if (!automaton.ok()) {
    const std::lock_guard lock(mutex_);
    ++figures_.failures;
    return automaton.status();
  }
  auto made = std::make_shared<const grammar::CompiledGrammar>(std::move(automaton).value(), trie_, limits_, masks_);
  const std::lock_guard lock(mutex_);
  ++figures_.compiles;
  figures_.compile_seconds += now_seconds() - begin;
  keep(std::move(key), made);
  return std::shared_ptr<const TokenConstraint>(made);
}

std::shared_ptr<const TokenConstraint> GrammarCompiler::cached(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return nullptr;
  ++figures_.cache_hits;
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->second;
}

// Grammars grow while they are used, so all are counted anew.
void GrammarCompiler::keep(std::string key, std::shared_ptr<const grammar::CompiledGrammar> made) {
  if (by_key_.count(key) != 0) return;  // another worker was sooner
  entries_.emplace_front(key, std::move(made));
  by_key_.emplace(std::move(key), entries_.begin());
  std::size_t total = 0, count = 0;
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    total += 2 * entry->first.size() + entry->second->bytes();
    if (++count > 1 && (total > cache_bytes_ || count > kCacheEntries)) {
      by_key_.erase(entry->first);
      entry = entries_.erase(entry);
    } else {
      ++entry;
    }
  }
}

CompilerFigures GrammarCompiler::figures() const {
  const std::lock_guard lock(mutex_);
  CompilerFigures now = figures_;
  now.masks_computed = masks_->computed.load();
  now.masks_reused = masks_->reused.load();
  now.cached = entries_.size();
  for (const Entry& entry : entries_) now.cached_bytes += 2 * entry.first.size() + entry.second->bytes();
  return now;
}

}  // namespace foregate
