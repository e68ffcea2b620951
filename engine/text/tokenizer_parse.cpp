#include "engine/text/tokenizer_parse.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "engine/base/log.h"
#include "engine/text/split_patterns.h"
#include "engine/text/tokenizer_fields.h"

namespace foregate::tok {
namespace {

using nlohmann::json;

// Punctuation and Digits of the tokenizers library follow other Unicode versions than its patterns:
// punctuation of Unicode 9 and later is not seen, numbers of Unicode 17 are.
constexpr std::string_view kPunctuation =
    R"((?![\x{061d}\x{09fd}\x{0a76}\x{0c77}\x{0c84}\x{1b4e}-\x{1b4f}\x{1b7d}-\x{1b7f}\x{2e43}-\x{2e4f})"
    R"(\x{2e52}-\x{2e5d}\x{10d6e}\x{10ead}\x{10f55}-\x{10f59}\x{10f86}-\x{10f89}\x{113d4}-\x{113d5})"
    R"(\x{113d7}-\x{113d8}\x{1144b}-\x{1144f}\x{1145a}-\x{1145b}\x{1145d}\x{11660}-\x{1166c}\x{116b9})"
    R"(\x{1183b}\x{11944}-\x{11946}\x{119e2}\x{11a3f}-\x{11a46}\x{11a9a}-\x{11a9c}\x{11a9e}-\x{11aa2})"
    R"(\x{11b00}-\x{11b09}\x{11be1}\x{11c41}-\x{11c45}\x{11c70}-\x{11c71}\x{11ef7}-\x{11ef8})"
    R"(\x{11f43}-\x{11f4f}\x{11fff}\x{12ff1}-\x{12ff2}\x{16d6d}-\x{16d6f}\x{16e97}-\x{16e9a}\x{16fe2})"
    R"(\x{1e5ff}\x{1e95e}-\x{1e95f}])[!-/:-@\[-`{-~\p{P}\x{166d}\x{111c9}])";
constexpr std::string_view kNumber = R"([\p{N}\x{11de0}-\x{11de9}\x{16ff4}-\x{16ff6}])";

Status unknown_type(const std::string& where, const std::string& type) {
  return unimplemented(where + " of type " + quoted(type, 40) + " is not supported", where + ".type");
}

std::string item(const std::string& where, const char* list, std::size_t index) {
  return where + "." + list + "[" + std::to_string(index) + "]";
}

// {"String": "..."} or {"Regex": "..."}.
Result<Regex> parse_pattern(const json& owner, const std::string& where, bool* one_character = nullptr) {
  const json* pattern = member(owner, "pattern");
  const std::string field = where + ".pattern";
  if (pattern != nullptr && member(*pattern, "Regex") != nullptr) {
    ASSIGN_OR_RETURN(auto text, text_field(*pattern, "Regex", field));
    return Regex::compile(text, field);
  }
  if (pattern == nullptr || member(*pattern, "String") == nullptr) {
    return data_loss(field + " must be an object with String or Regex", field);
  }
  ASSIGN_OR_RETURN(auto text, text_field(*pattern, "String", field));
  if (one_character != nullptr) *one_character = character_field(*pattern, "String", field).ok();
  return Regex::literal(text, field);
}

Result<SplitBehavior> parse_behavior(const json& owner, const std::string& where) {
  ASSIGN_OR_RETURN(auto name, text_field(owner, "behavior", where));
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return unimplemented(where + ".behavior " + quoted(name, 40) + " is not supported", where + ".behavior");
}

// Files before prepend_scheme have add_prefix_space alone.
Result<PrependScheme> parse_prepend_scheme(const json& owner, const std::string& where) {
  ASSIGN_OR_RETURN(const bool add_space, flag_field(owner, "add_prefix_space", where, true));
  if (member(owner, "prepend_scheme") == nullptr) return add_space ? PrependScheme::kAlways : PrependScheme::kNever;
  ASSIGN_OR_RETURN(auto name, text_field(owner, "prepend_scheme", where));
  const std::string field = where + ".prepend_scheme";
  if (!add_space && name != "never") return data_loss(field + " contradicts add_prefix_space", field);
  if (name == "always") return PrependScheme::kAlways;
  if (name == "first") return PrependScheme::kFirst;
  if (name == "never") return PrependScheme::kNever;
  return unimplemented(field + " " + quoted(name, 40) + " is not supported", field);
}

Result<std::unique_ptr<PreTokenizer>> fixed_split(std::string_view pattern, SplitBehavior behavior, bool invert) {
  ASSIGN_OR_RETURN(auto regex, Regex::compile(pattern, "pre_tokenizer"));
  return make_split(std::move(regex), behavior, invert);
}

Result<std::unique_ptr<PreTokenizer>> parse_byte_level(const json& value, const std::string& where) {
  ASSIGN_OR_RETURN(const bool add_space, flag_field(value, "add_prefix_space", where, std::nullopt));
  ASSIGN_OR_RETURN(const bool use_regex, flag_field(value, "use_regex", where, true));
  std::unique_ptr<PreTokenizer> pattern;
  if (use_regex) {
    ASSIGN_OR_RETURN(pattern, fixed_split(kGpt2Pattern, SplitBehavior::kIsolated, false));
  }
  return make_byte_level(add_space, std::move(pattern));
}

Result<std::unique_ptr<PreTokenizer>> parse_split(const json& value, const std::string& where) {
  ASSIGN_OR_RETURN(auto pattern, parse_pattern(value, where));
  ASSIGN_OR_RETURN(const auto behavior, parse_behavior(value, where));
  ASSIGN_OR_RETURN(const bool invert, flag_field(value, "invert", where, false));
  return make_split(std::move(pattern), behavior, invert);
}

Result<std::unique_ptr<PreTokenizer>> parse_metaspace(const json& value, const std::string& where) {
  ASSIGN_OR_RETURN(auto replacement, character_field(value, "replacement", where));
  ASSIGN_OR_RETURN(const auto scheme, parse_prepend_scheme(value, where));
  ASSIGN_OR_RETURN(const bool split, flag_field(value, "split", where, true));
  return make_metaspace(std::move(replacement), scheme, split);
}

Result<std::unique_ptr<PreTokenizer>> parse_digits(const json& value, const std::string& where) {
  ASSIGN_OR_RETURN(const bool individual, flag_field(value, "individual_digits", where, false));
  return fixed_split(kNumber, individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous, false);
}

Result<std::unique_ptr<PreTokenizer>> parse_punctuation(const json& value, const std::string& where) {
  SplitBehavior behavior = SplitBehavior::kIsolated;
  if (member(value, "behavior") != nullptr) {
    ASSIGN_OR_RETURN(behavior, parse_behavior(value, where));
  }
  return fixed_split(kPunctuation, behavior, false);
}

Result<std::unique_ptr<PreTokenizer>> parse_pre_tokenizers(const json& value, const std::string& where) {
  ASSIGN_OR_RETURN(const json* list, array_field(value, "pretokenizers", where));
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  for (std::size_t i = 0; i < list->size(); ++i) {
    ASSIGN_OR_RETURN(auto step, parse_pre_tokenizer((*list)[i], item(where, "pretokenizers", i)));
    if (step) steps.push_back(std::move(step));
  }
  return make_pre_tokenizer_sequence(std::move(steps));
}

Result<std::vector<DecodeStep>> parse_decode_replace(const json& value, const std::string& where) {
  DecodeStep step{.kind = DecodeStep::Kind::kReplace};
  ASSIGN_OR_RETURN(step.pattern, parse_pattern(value, where, &step.one_character));
  ASSIGN_OR_RETURN(step.content, text_field(value, "content", where));
  return std::vector<DecodeStep>{std::move(step)};
}

Result<std::vector<DecodeStep>> parse_decode_strip(const json& value, const std::string& where) {
  DecodeStep step{.kind = DecodeStep::Kind::kStrip};
  ASSIGN_OR_RETURN(step.content, character_field(value, "content", where));
  ASSIGN_OR_RETURN(step.start, count_field(value, "start", where));
  ASSIGN_OR_RETURN(step.stop, count_field(value, "stop", where));
  return std::vector<DecodeStep>{std::move(step)};
}

Result<std::vector<DecodeStep>> parse_decode_metaspace(const json& value, const std::string& where) {
  DecodeStep step{.kind = DecodeStep::Kind::kMetaspace};
  ASSIGN_OR_RETURN(step.content, character_field(value, "replacement", where));
  ASSIGN_OR_RETURN(const auto scheme, parse_prepend_scheme(value, where));
  step.drop_first = scheme != PrependScheme::kNever;
  return std::vector<DecodeStep>{std::move(step)};
}

Status template_tokens(const json& special_tokens, const std::string& name, const std::string& where,
                       std::vector<Token>* out) {
  const json* entry = member(special_tokens, name.c_str());
  if (entry == nullptr) return data_loss(where + " names " + quoted(name, 40) + ", not in special_tokens", where);
  ASSIGN_OR_RETURN(const json* ids, array_field(*entry, "ids", where));
  for (const json& id : *ids) {
    const bool good = id.is_number_unsigned() && id.get<std::uint64_t>() <= static_cast<std::uint64_t>(Bpe::kMaxId);
    if (!good) return data_loss(where + ": an id of " + quoted(name, 40) + " is out of range", where);
    out->push_back(static_cast<Token>(id.get<std::uint64_t>()));
  }
  return {};
}

Result<Template> parse_template(const json& value, const std::string& where) {
  ASSIGN_OR_RETURN(const json* pieces, array_field(value, "single", where));
  const json* special_tokens = member(value, "special_tokens");
  Template made;
  bool sequence_seen = false;
  for (std::size_t i = 0; i < pieces->size(); ++i) {
    const std::string at = item(where, "single", i);
    const json& piece = (*pieces)[i];
    if (const json* sequence = member(piece, "Sequence")) {
      ASSIGN_OR_RETURN(auto id, text_field(*sequence, "id", at));
      if (id != "A" || sequence_seen)
        return unimplemented(at + ": a template with more than one text is not supported", at);
      sequence_seen = true;
    } else if (const json* special = member(piece, "SpecialToken")) {
      ASSIGN_OR_RETURN(auto id, text_field(*special, "id", at));
      if (special_tokens == nullptr) return data_loss(where + ".special_tokens is missing", where);
      RETURN_IF_ERROR(template_tokens(*special_tokens, id, at, sequence_seen ? &made.after : &made.before));
    } else {
      return data_loss(at + " must be a Sequence or a SpecialToken", at);
    }
  }
  if (!sequence_seen) return unimplemented(where + ".single has no place for the text", where);
  return made;
}

}  // namespace

Result<std::unique_ptr<Normalizer>> parse_normalizer(const json& value, const std::string& where) {
  if (value.is_null()) return std::unique_ptr<Normalizer>();
  ASSIGN_OR_RETURN(auto type, text_field(value, "type", where));
  if (type == "NFC") return make_unicode_normalizer(UnicodeForm::kNfc);
  if (type == "NFD") return make_unicode_normalizer(UnicodeForm::kNfd);
  if (type == "NFKC") return make_unicode_normalizer(UnicodeForm::kNfkc);
  if (type == "NFKD") return make_unicode_normalizer(UnicodeForm::kNfkd);
  if (type == "Lowercase") return make_lowercase();
  if (type == "Strip") {
    ASSIGN_OR_RETURN(const bool left, flag_field(value, "strip_left", where, std::nullopt));
    ASSIGN_OR_RETURN(const bool right, flag_field(value, "strip_right", where, std::nullopt));
    return make_strip(left, right);
  }
  if (type == "Prepend") {
    ASSIGN_OR_RETURN(auto prefix, text_field(value, "prepend", where));
    return make_prepend(std::move(prefix));
  }
  if (type == "Replace") {
    ASSIGN_OR_RETURN(auto pattern, parse_pattern(value, where));
    ASSIGN_OR_RETURN(auto content, text_field(value, "content", where));
    return make_replace(std::move(pattern), std::move(content));
  }
  if (type != "Sequence") return unknown_type(where, type);
  ASSIGN_OR_RETURN(const json* list, array_field(value, "normalizers", where));
  std::vector<std::unique_ptr<Normalizer>> steps;
  for (std::size_t i = 0; i < list->size(); ++i) {
    ASSIGN_OR_RETURN(auto step, parse_normalizer((*list)[i], item(where, "normalizers", i)));
    if (step) steps.push_back(std::move(step));
  }
  return make_normalizer_sequence(std::move(steps));
}

Result<std::unique_ptr<PreTokenizer>> parse_pre_tokenizer(const json& value, const std::string& where) {
  if (value.is_null()) return std::unique_ptr<PreTokenizer>();
  ASSIGN_OR_RETURN(auto type, text_field(value, "type", where));
  if (type == "ByteLevel") return parse_byte_level(value, where);
  if (type == "Split") return parse_split(value, where);
  if (type == "Metaspace") return parse_metaspace(value, where);
  if (type == "Digits") return parse_digits(value, where);
  if (type == "Punctuation") return parse_punctuation(value, where);
  if (type == "WhitespaceSplit") return fixed_split("\\s", SplitBehavior::kRemoved, false);
  if (type == "Whitespace") {
    return fixed_split("[\\w\\u200C\\u200D]+|[^\\w\\u200C\\u200D\\s]+", SplitBehavior::kRemoved, true);
  }
  if (type == "Sequence") return parse_pre_tokenizers(value, where);
  return unknown_type(where, type);
}

Result<std::vector<DecodeStep>> parse_decoder(const json& value, const std::string& where) {
  using Kind = DecodeStep::Kind;
  if (value.is_null()) return std::vector<DecodeStep>{{.kind = Kind::kSpaced}};
  ASSIGN_OR_RETURN(auto type, text_field(value, "type", where));
  if (type == "ByteLevel") return std::vector<DecodeStep>{{.kind = Kind::kByteLevel}};
  if (type == "ByteFallback") return std::vector<DecodeStep>{{.kind = Kind::kByteFallback}};
  if (type == "Fuse") return std::vector<DecodeStep>{{.kind = Kind::kFuse}};
  if (type == "Replace") return parse_decode_replace(value, where);
  if (type == "Strip") return parse_decode_strip(value, where);
  if (type == "Metaspace") return parse_decode_metaspace(value, where);
  if (type != "Sequence") return unknown_type(where, type);
  ASSIGN_OR_RETURN(const json* list, array_field(value, "decoders", where));
  std::vector<DecodeStep> steps;
  for (std::size_t i = 0; i < list->size(); ++i) {
    if ((*list)[i].is_null()) return data_loss(item(where, "decoders", i) + " is null", where);
    ASSIGN_OR_RETURN(auto inner, parse_decoder((*list)[i], item(where, "decoders", i)));
    for (DecodeStep& step : inner) steps.push_back(std::move(step));
  }
  return steps;
}

Status parse_post_processor(const json& value, const std::string& where, std::vector<Template>* templates) {
  if (value.is_null()) return {};
  ASSIGN_OR_RETURN(auto type, text_field(value, "type", where));
  if (type == "ByteLevel") return {};  // moves offsets only
  if (type == "TemplateProcessing") {
    ASSIGN_OR_RETURN(auto made, parse_template(value, where));
    templates->push_back(std::move(made));
    return {};
  }
  if (type != "Sequence") return unknown_type(where, type);
  ASSIGN_OR_RETURN(const json* list, array_field(value, "processors", where));
  for (std::size_t i = 0; i < list->size(); ++i) {
    RETURN_IF_ERROR(parse_post_processor((*list)[i], item(where, "processors", i), templates));
  }
  return {};
}

Result<std::unique_ptr<Bpe>> parse_model(TokenizerJson file) {
  const json* model = member(*file.rest, "model");
  if (model == nullptr || !model->is_object()) return data_loss("model must be an object", "model");
  if (member(*model, "type") != nullptr || !file.has_merges) {
    ASSIGN_OR_RETURN(auto type, text_field(*model, "type", "model"));
    if (type != "BPE") return unknown_type("model", type);
  }
  if (!file.has_vocab) return data_loss("model.vocab must be an object", "model.vocab");
  if (!file.has_merges) return data_loss("model.merges must be an array", "model.merges");
  if (const json* dropout = member(*model, "dropout")) {
    if (!dropout->is_number() || dropout->get<double>() != 0.0) {
      return unimplemented("model.dropout is not supported", "model.dropout");
    }
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (member(*model, key) == nullptr) continue;
    ASSIGN_OR_RETURN(auto text, text_field(*model, key, "model"));
    if (!text.empty())
      return unimplemented(std::string("model.") + key + " is not supported", std::string("model.") + key);
  }
  BpeConfig config;
  if (member(*model, "unk_token") != nullptr) {
    ASSIGN_OR_RETURN(config.unk_token, text_field(*model, "unk_token", "model"));
  }
  ASSIGN_OR_RETURN(config.fuse_unk, flag_field(*model, "fuse_unk", "model", false));
  ASSIGN_OR_RETURN(config.byte_fallback, flag_field(*model, "byte_fallback", "model", false));
  ASSIGN_OR_RETURN(config.ignore_merges, flag_field(*model, "ignore_merges", "model", false));
  config.vocab = std::move(file.vocab);
  config.merges = std::move(file.merges);
  return Bpe::build(std::move(config));
}

Result<std::vector<AddedToken>> parse_added_tokens(const json& value, const Bpe& model, const Normalizer* normalizer) {
  std::vector<AddedToken> tokens;
  if (value.is_null()) return tokens;
  if (!value.is_array()) return data_loss("added_tokens must be an array", "added_tokens");
  if (value.size() > AddedTokens::kMaxCount)
    return data_loss("added_tokens has more than 65536 entries", "added_tokens");
  auto next_id = static_cast<std::int64_t>(model.count());
  for (std::size_t i = 0; i < value.size(); ++i) {
    const std::string where = "added_tokens[" + std::to_string(i) + "]";
    AddedToken token;
    ASSIGN_OR_RETURN(const std::int64_t id, count_field(value[i], "id", where));
    ASSIGN_OR_RETURN(token.content, text_field(value[i], "content", where));
    ASSIGN_OR_RETURN(token.single_word, flag_field(value[i], "single_word", where, false));
    ASSIGN_OR_RETURN(token.lstrip, flag_field(value[i], "lstrip", where, false));
    ASSIGN_OR_RETURN(token.rstrip, flag_field(value[i], "rstrip", where, false));
    ASSIGN_OR_RETURN(token.special, flag_field(value[i], "special", where, false));
    ASSIGN_OR_RETURN(token.normalized, flag_field(value[i], "normalized", where, !token.special));
    const auto known = model.find(token.content);
    const std::int64_t given = known ? *known : next_id++;
    if (id != given || id > Bpe::kMaxId) {
      return data_loss(where + ".id is " + std::to_string(id) + " where " + std::to_string(given) + " belongs",
                       where + ".id");
    }
    token.id = static_cast<Token>(id);
    NormalizedText pattern = untouched(token.content, false);
    if (token.normalized && normalizer != nullptr) RETURN_IF_ERROR(normalizer->apply(&pattern));
    token.pattern = std::move(pattern.text);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace foregate::tok
