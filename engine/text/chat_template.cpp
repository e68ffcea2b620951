#include "engine/text/chat_template.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "engine/text/jinja_error.h"
#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_parser.h"
#include "engine/text/jinja_utf8.h"

namespace foregate {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kMaxSourceBytes =
    1u << 20;  // published ones stay under 64 KiB; a tree takes about 100 times its source
constexpr int kMaxInputDepth = 128;

// Request JSON to template values. Depth is bounded; size is not charged, the caller bounds bodies.
class Importer {
 public:
  explicit Importer(jinja::Heap& heap) : heap_(heap) {}

  jinja::Value value(const ordered_json& json, bool from_client, int depth = 0) {
    if (depth > kMaxInputDepth) jinja::exhausted("input nested too deeply");
    switch (json.type()) {
      case ordered_json::value_t::boolean: return jinja::bool_value(json.get<bool>());
      case ordered_json::value_t::number_integer: return jinja::int_value(json.get<std::int64_t>());
      case ordered_json::value_t::number_unsigned: return unsigned_value(json.get<std::uint64_t>());
      case ordered_json::value_t::number_float: return jinja::float_value(json.get<double>());
      case ordered_json::value_t::string: return text(json.get_ref<const std::string&>(), from_client);
      case ordered_json::value_t::array: return list(json, from_client, depth);
      case ordered_json::value_t::object: return dict(json, from_client, depth);
      default: return jinja::none_value();
    }
  }

 private:
  static jinja::Value unsigned_value(std::uint64_t number) {
    jinja::Value v = jinja::int_value(static_cast<std::int64_t>(number));
    v.wide = number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    return v;
  }

  jinja::Value text(const std::string& bytes, bool from_client) {
    if (!jinja::valid_utf8(bytes)) jinja::fail("a string of the input is not valid UTF-8");
    jinja::Str str;
    str.bytes = bytes;
    if (from_client && !bytes.empty()) str.marks.push_back({0, bytes.size()});
    return heap_.text(std::move(str));
  }

  jinja::Value list(const ordered_json& json, bool from_client, int depth) {
    std::vector<jinja::Value> items;
    items.reserve(json.size());
    for (const ordered_json& item : json) items.push_back(value(item, from_client, depth + 1));
    return heap_.list(std::move(items));
  }

  jinja::Value dict(const ordered_json& json, bool from_client, int depth) {
    jinja::Dict* dict = heap_.dict();
    for (const auto& [key, item] : json.items()) {
      dict->put(heap_, text(key, from_client), value(item, from_client, depth + 1));
    }
    return heap_.dict_value(dict);
  }

  jinja::Heap& heap_;
};

Status with_line(const jinja::Error& error, int line) {
  if (error.verbatim || error.status.code() == Code::kResourceExhausted) return error.status;
  return Status(error.status.code(), "chat template line " + std::to_string(line) + ": " + error.status.message());
}

class JinjaChatTemplate : public ChatTemplate {
 public:
  JinjaChatTemplate(jinja::Tree tree, std::string_view source) : tree_(std::move(tree)), source_(source) {}

  Result<RenderedChat> render(const ordered_json& variables, const TemplateBudget& budget,
                              std::int64_t now_unix_seconds) const override {
    if (!variables.is_object()) return invalid_argument("template variables must be an object");
    jinja::Heap heap(budget.operations, budget.output_bytes);
    jinja::Evaluator evaluator(tree_, heap, budget.depth, now_unix_seconds);
    try {
      Importer importer(heap);
      for (const auto& [name, json] : variables.items()) {
        const bool from_client = name == "messages" || name == "tools" || name == "documents";
        evaluator.set_variable(name, importer.value(json, from_client));
      }
      jinja::Str text = evaluator.run();
      return RenderedChat{std::move(text.bytes), std::move(text.marks)};
    } catch (const jinja::Error& error) {
      return with_line(error, evaluator.line());
    } catch (const std::bad_alloc&) {
      return resource_exhausted("chat template: out of memory");
    }
  }

  std::string_view source() const override { return source_; }

 private:
  jinja::Tree tree_;
  std::string source_;
};

}  // namespace

Result<std::unique_ptr<ChatTemplate>> compile_chat_template(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    return invalid_argument("chat template of " + std::to_string(source.size()) +
                            " bytes is longer than the limit of " + std::to_string(kMaxSourceBytes));
  }
  try {
    jinja::Parser parser(jinja::tokenize(source));
    return std::unique_ptr<ChatTemplate>(std::make_unique<JinjaChatTemplate>(parser.parse(), source));
  } catch (const jinja::Error& error) {
    return error.status;
  } catch (const std::bad_alloc&) {
    return resource_exhausted("chat template: out of memory");
  }
}

}  // namespace foregate
