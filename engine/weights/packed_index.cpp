#include "engine/weights/packed_index.h"

#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "engine/base/checksum.h"
#include "engine/weights/checked_json.h"

namespace foregate {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr const char* kFormatName = "foregate packed weights";
constexpr const char* kOwnChecksumKey = "\"index_xxh3\"";
constexpr std::uint64_t kMostLayers = 65'536;
constexpr std::uint64_t kMostExperts = 65'536;
constexpr std::uint64_t kMostRows = std::uint64_t{1} << 40;

OrderedJson unit_json(const PackedUnit& unit) {
  OrderedJson json = {{"kind", packed_kind_name(unit.kind)}};
  if (unit.layer >= 0) json["layer"] = unit.layer;
  if (unit.expert >= 0) json["expert"] = unit.expert;
  json["file"] = unit.file;
  json["offset"] = unit.offset;
  json["bytes"] = unit.bytes;
  json["xxh3"] = checksum_text(unit.checksum);
  for (const PackedTensor& tensor : unit.tensors) {
    json["tensors"].push_back({{"name", tensor.name},
                               {"format", format_name(tensor.format)},
                               {"shape", tensor.shape},
                               {"offset", tensor.offset},
                               {"bytes", tensor.bytes()}});
  }
  return json;
}

// One object of the index. The first fault is kept; later reads return zeros.
class Fields {
 public:
  Fields(const Json& json, std::string where, Status& status) : json_(json), where_(std::move(where)), status_(status) {
    if (!json_.is_object()) fail("is not an object");
  }

  const Json* find(const char* key) {
    if (!status_.ok()) return nullptr;
    const auto at = json_.find(key);
    if (at == json_.end()) fail(std::string(key) + " is missing");
    return at == json_.end() ? nullptr : &*at;
  }
  std::uint64_t number(const char* key, std::uint64_t most = UINT64_MAX) {
    const Json* value = find(key);
    if (value == nullptr) return 0;
    if (value->is_number_unsigned() && value->get<std::uint64_t>() <= most) return value->get<std::uint64_t>();
    fail(std::string(key) + " is not a number from 0 to " + std::to_string(most));
    return 0;
  }
  std::string text(const char* key) {
    const Json* value = find(key);
    if (value == nullptr) return {};
    if (value->is_string()) return value->get<std::string>();
    fail(std::string(key) + " is not a string");
    return {};
  }
  std::uint64_t hex(const char* key) {
    const std::string word = text(key);
    if (!status_.ok()) return 0;
    const auto value = parse_checksum(word);
    if (!value) fail(std::string(key) + " is not sixteen hexadecimal digits");
    return value.value_or(0);
  }
  // A list that is not empty; else one without elements.
  const Json& list(const char* key) {
    static const Json none = Json::array();
    const Json* value = find(key);
    if (value == nullptr) return none;
    if (value->is_array() && !value->empty()) return *value;
    fail(std::string(key) + " is not a list with elements");
    return none;
  }
  void fail(const std::string& what, Code code = Code::kDataLoss, std::string field = {}) {
    if (status_.ok()) status_ = Status(code, where_ + ": " + what, std::move(field));
  }
  bool ok() const { return status_.ok(); }

 private:
  const Json& json_;
  std::string where_;
  Status& status_;
};

class Parser {
 public:
  Parser(std::string_view text, std::string label) : text_(text), label_(std::move(label)) {}
  Result<PackedIndex> run();

 private:
  void head(Fields& root);
  void own_checksum(Fields& root);
  void file(const Json& json);
  void unit(const Json& json);
  void unit_key(Fields& fields, PackedUnit& unit);
  void tensor(const Json& json, const std::string& where, PackedUnit& unit);
  void cover();

  std::string_view text_;
  std::string label_;
  Status status_;
  PackedIndex index_;
  std::set<std::tuple<PackedKind, std::int32_t, std::int32_t>> seen_;
};

void Parser::head(Fields& root) {
  if (const std::string format = root.text("format"); root.ok() && format != kFormatName) {
    return root.fail("format is \"" + printable(format) + "\", not \"" + kFormatName + "\"");
  }
  if (const std::uint64_t version = root.number("version"); root.ok() && version != kPackedVersion) {
    return root.fail("packed weights of version " + std::to_string(version) + "; this program reads version " +
                         std::to_string(kPackedVersion) + ": pack the model again",
                     Code::kUnimplemented, "version");
  }
  if (const std::string layout = root.text("layout"); root.ok() && layout != kPackedLayout) {
    return root.fail("packed in the layout \"" + printable(layout) + "\"; this program computes with \"" +
                         kPackedLayout + "\": pack the model again",
                     Code::kUnimplemented, "layout");
  }
  if (const std::string kind = root.text("checksum"); root.ok() && kind != "xxh3-64") {
    return root.fail("checksums of the kind \"" + printable(kind) + "\" are not known", Code::kUnimplemented,
                     "checksum");
  }
  own_checksum(root);
  index_.quantization = root.text("quantization");
  index_.source = root.hex("source");
}

void Parser::own_checksum(Fields& root) {
  const std::uint64_t stated = root.hex("index_xxh3");
  const auto key = text_.rfind(kOwnChecksumKey);
  if (!root.ok()) return;
  if (key == std::string_view::npos || checksum(text_.substr(0, key)) != stated) {
    root.fail("the index is damaged: it does not have the checksum that it states");
  }
}

// A data file must be a plain file name of the same directory.
void Parser::file(const Json& json) {
  Fields fields(json, label_ + ": file " + std::to_string(index_.files.size() + 1), status_);
  PackedDataFile file;
  file.name = fields.text("name");
  file.bytes = fields.number("bytes");
  file.units_checksum = fields.hex("units");
  const bool plain = !file.name.empty() && file.name.size() <= 255 && file.name.front() != '.' &&
                     file.name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos &&
                     file.name.ends_with(".fgw");
  if (!plain) fields.fail("\"" + printable(file.name) + "\" is not the name of a .fgw file in the same directory");
  index_.files.push_back(std::move(file));
}

void Parser::unit_key(Fields& fields, PackedUnit& unit) {
  const std::string kind = fields.text("kind");
  int found = 0;
  while (found < kPackedKinds && kind != packed_kind_name(static_cast<PackedKind>(found))) ++found;
  if (found == kPackedKinds) return fields.fail("kind \"" + printable(kind) + "\" is not known");
  unit.kind = static_cast<PackedKind>(found);
  const bool expert = unit.kind == PackedKind::kExpert;
  if (expert || unit.kind == PackedKind::kLayer) {
    unit.layer = static_cast<std::int32_t>(fields.number("layer", kMostLayers - 1));
  }
  if (expert) unit.expert = static_cast<std::int32_t>(fields.number("expert", kMostExperts - 1));
  if (fields.ok() && !seen_.emplace(unit.kind, unit.layer, unit.expert).second) {
    fields.fail(packed_unit_text(unit) + " is given twice");
  }
}

void Parser::unit(const Json& json) {
  const std::string where = label_ + ": unit " + std::to_string(index_.units.size());
  Fields fields(json, where, status_);
  PackedUnit unit;
  unit_key(fields, unit);
  unit.file = static_cast<std::uint32_t>(fields.number("file", kMaxPackedFiles));
  unit.offset = fields.number("offset");
  unit.bytes = fields.number("bytes");
  unit.checksum = fields.hex("xxh3");
  if (fields.ok() && (unit.bytes == 0 || unit.bytes % kPackedPage != 0)) {
    fields.fail("bytes is not a multiple of " + std::to_string(kPackedPage));
  }
  for (const Json& json_tensor : fields.list("tensors")) tensor(json_tensor, where, unit);
  index_.units.push_back(std::move(unit));
}

// Bytes of the packed tensor, or none when its shape or its blocks make no sense.
std::optional<std::uint64_t> tensor_bytes(const PackedTensor& tensor, std::uint64_t most) {
  const FormatUnit unit = format_unit(tensor.format);
  if (tensor.cols() % unit.cols != 0) return std::nullopt;
  const auto blocks = (static_cast<std::uint64_t>(tensor.rows()) + kRowInterleave - 1) / kRowInterleave;
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(blocks, static_cast<std::uint64_t>(tensor.cols() / unit.cols), &bytes) ||
      __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(unit.bytes), &bytes) || bytes > most) {
    return std::nullopt;
  }
  return bytes;
}

void Parser::tensor(const Json& json, const std::string& where, PackedUnit& unit) {
  Fields fields(json, where + ": tensor " + std::to_string(unit.tensors.size()), status_);
  PackedTensor tensor;
  tensor.name = fields.text("name");
  const std::string format = fields.text("format");
  int known = 0;
  while (known < kWeightFormats && format != format_name(static_cast<WeightFormat>(known))) ++known;
  if (known == kWeightFormats) return fields.fail("format \"" + printable(format) + "\" is not known");
  tensor.format = static_cast<WeightFormat>(known);
  for (const Json& size : fields.list("shape")) {
    const bool sane = size.is_number_unsigned() && size.get<std::uint64_t>() - 1 < kMostRows;
    if (!sane) return fields.fail("shape holds something that is not a size");
    tensor.shape.push_back(size.get<std::int64_t>());
  }
  tensor.offset = fields.number("offset");
  const std::uint64_t bytes = fields.number("bytes");
  if (!fields.ok()) return;
  if (tensor.name.empty()) return fields.fail("its name is empty");
  if (tensor.shape.size() > 2) return fields.fail("shape has more than two dimensions");
  if (tensor_bytes(tensor, unit.bytes) != bytes) return fields.fail("its bytes are not those of its format and shape");
  const std::uint64_t free = unit.tensors.empty() ? 0 : unit.tensors.back().offset + unit.tensors.back().bytes();
  if (tensor.offset % kPackedTensorAlignment != 0 || tensor.offset < free || tensor.offset > unit.bytes - bytes) {
    return fields.fail("it does not lie in its unit behind the tensor before it");
  }
  unit.tensors.push_back(std::move(tensor));
}

// Units follow one another from each file's header page to its end.
void Parser::cover() {
  std::uint64_t end = kPackedPage;
  std::uint32_t file = 0;
  const auto fail = [this](const std::string& what) {
    if (status_.ok()) status_ = data_loss(label_ + ": " + what);
  };
  for (const PackedUnit& unit : index_.units) {
    if (!status_.ok()) return;
    if (end == index_.files[file].bytes && file + 1 < index_.files.size()) {
      ++file;
      end = kPackedPage;
    }
    const std::uint64_t file_bytes = index_.files[file].bytes;
    if (unit.file != file || unit.offset != end || file_bytes < end || unit.bytes > file_bytes - end) {
      return fail(packed_unit_text(unit) + " does not follow the unit before it inside its file");
    }
    end += unit.bytes;
  }
  if (file + 1 != index_.files.size() || end != index_.files[file].bytes) fail("the units do not fill the files");
  for (std::uint32_t i = 0; i < index_.files.size() && status_.ok(); ++i) {
    if (checksum_units(index_, i) != index_.files[i].units_checksum) fail("the checksums of the units do not agree");
  }
}

Result<PackedIndex> Parser::run() {
  Json json;
  RETURN_IF_ERROR(parse_checked_json(text_, 8, label_, json));
  Fields root(json, label_, status_);
  head(root);
  for (const Json& entry : root.list("files")) file(entry);
  if (index_.files.size() > kMaxPackedFiles) root.fail("too many files");
  for (const Json& entry : root.list("units")) unit(entry);
  if (status_.ok()) cover();
  if (!status_.ok()) return status_;
  return std::move(index_);
}

}  // namespace

std::string write_packed_index(const PackedIndex& index) {
  OrderedJson head = {{"format", kFormatName},
                      {"version", kPackedVersion},
                      {"layout", index.layout},
                      {"checksum", "xxh3-64"},
                      {"quantization", index.quantization},
                      {"source", checksum_text(index.source)},
                      {"weights", checksum_text(index.weights_id())}};
  for (const PackedDataFile& file : index.files) {
    head["files"].push_back(
        {{"name", file.name}, {"bytes", file.bytes}, {"units", checksum_text(file.units_checksum)}});
  }
  std::string text = head.dump();
  text.back() = ',';
  text += "\n\"units\":[";
  for (const PackedUnit& unit : index.units)
    text += (&unit == index.units.data() ? "\n" : ",\n") + unit_json(unit).dump();
  text += "],\n";
  return text + kOwnChecksumKey + ":\"" + checksum_text(checksum(text)) + "\"}\n";
}

Result<PackedIndex> parse_packed_index(std::string_view text, const std::string& label) {
  return Parser(text, label).run();
}

}  // namespace foregate
