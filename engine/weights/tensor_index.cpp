#include "engine/weights/tensor_index.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/weights/checked_json.h"

namespace foregate {
namespace {

using Json = nlohmann::json;

constexpr const char* kSingleName = "model.safetensors";
constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr std::size_t kMaxShards = 4096;

// A shard must be a plain file name of the same directory: no path, no hidden or special name.
bool is_plain_shard_name(std::string_view name) {
  if (name.empty() || name.size() > 255 || name.front() == '.') return false;
  if (name.find_first_of(std::string_view("/\\\0", 3)) != std::string_view::npos) return false;
  return name.ends_with(".safetensors");
}

// Tensor name -> shard file name, in name order.
Result<std::map<std::string, std::string>> read_weight_map(const FileSystem& files, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, read_text(files, path, kMaxSafetensorsHeader));
  Json root;
  RETURN_IF_ERROR(parse_checked_json(text, 8, path, root));
  if (!root.is_object() || !root.contains("weight_map") || !root["weight_map"].is_object()) {
    return data_loss(path + ": weight_map is missing or not an object", "weight_map");
  }
  std::map<std::string, std::string> map;
  for (const auto& [tensor, shard] : root["weight_map"].items()) {
    if (!shard.is_string()) {
      return data_loss(path + ": weight_map: the shard of tensor \"" + printable(tensor) + "\" is not a string",
                       printable(tensor));
    }
    const auto& name = shard.get_ref<const std::string&>();
    if (!is_plain_shard_name(name)) {
      return data_loss(path + ": weight_map: \"" + printable(name) +
                           "\" is not the name of a .safetensors file in the same directory",
                       printable(tensor));
    }
    map.emplace(tensor, name);
  }
  if (map.empty()) return data_loss(path + ": weight_map lists no tensor", "weight_map");
  return map;
}

}  // namespace

Result<TensorIndex> TensorIndex::open(const FileSystem& files, const std::string& dir) {
  const std::string single = dir + "/" + kSingleName;
  const std::string index_path = dir + "/" + kIndexName;
  TensorIndex index;
  if (is_packed(files, dir)) {
    if (!files.exists(single) && !files.exists(index_path)) return open_packed(files, dir);
    return invalid_argument(dir + " holds both " + kPackedIndexName + " and safetensors: which is meant?");
  }
  if (files.exists(single)) return open_file(files, single);
  if (!files.exists(index_path)) {
    RETURN_IF_ERROR(check_no_unfinished_pack(files, dir));
    return not_found(dir + " holds neither " + kSingleName + " nor " + kIndexName);
  }
  RETURN_IF_ERROR(index.add_listed_shards(files, dir, index_path));
  return index;
}

Result<TensorIndex> TensorIndex::open_file(const FileSystem& files, const std::string& path) {
  TensorIndex index;
  RETURN_IF_ERROR(index.add_shard(files, path));
  RETURN_IF_ERROR(index.sort_and_check_names());
  return index;
}

Result<TensorIndex> TensorIndex::from_gguf(GgufModel& model) {
  TensorIndex index;
  for (std::size_t shard = 0; shard < model.files.size(); ++shard) {
    for (GgufTensor& tensor : model.tensors[shard]) {
      index.entries_->push_back({std::move(tensor.name), tensor.type_name, tensor.dtype, std::move(tensor.shape),
                                 static_cast<std::uint32_t>(shard), tensor.offset, tensor.bytes});
    }
  }
  for (auto& file : model.files) index.files_.push_back(std::move(file));
  model.files.clear();
  model.tensors.clear();
  RETURN_IF_ERROR(index.sort_and_check_names());
  return index;
}

// Units whose tensors are not of the model's configuration are never asked for.
Result<TensorIndex> TensorIndex::open_packed(const FileSystem& files, const std::string& dir) {
  TensorIndex index;
  ASSIGN_OR_RETURN(PackedModel packed, PackedModel::open(files, dir));
  const std::vector<PackedUnit>& units = packed.index().units;
  for (std::size_t u = 0; u < units.size(); ++u) {
    for (const PackedTensor& tensor : units[u].tensors) {
      index.entries_->push_back({.name = tensor.name,
                                 .dtype_name = format_name(tensor.format),
                                 .dtype = format_dtype(tensor.format),
                                 .shape = tensor.shape,
                                 .shard = units[u].file,
                                 .offset = units[u].offset + tensor.offset,
                                 .bytes = tensor.bytes(),
                                 .unit = static_cast<std::int32_t>(u)});
    }
  }
  index.packed_ = std::make_shared<const PackedModel>(std::move(packed));
  RETURN_IF_ERROR(index.sort_and_check_names());
  return index;
}

const File& TensorIndex::shard(std::size_t number) const {
  return packed_ ? packed_->file(static_cast<std::uint32_t>(number)) : *files_[number];
}

Status TensorIndex::add_listed_shards(const FileSystem& files, const std::string& dir, const std::string& index_path) {
  ASSIGN_OR_RETURN(const auto weight_map, read_weight_map(files, index_path));
  std::map<std::string, std::uint32_t> shard_ids;
  for (const auto& [tensor, shard] : weight_map) {
    if (shard_ids.count(shard) != 0) continue;
    if (shard_ids.size() == kMaxShards) {
      return data_loss(index_path + ": more than " + std::to_string(kMaxShards) + " shards");
    }
    const std::string path = dir + "/" + shard;
    if (!files.exists(path)) {
      return data_loss(index_path + ": shard \"" + printable(shard) + "\" listed for tensor \"" + printable(tensor) +
                           "\" is missing",
                       printable(tensor));
    }
    shard_ids.emplace(shard, static_cast<std::uint32_t>(files_.size()));
    RETURN_IF_ERROR(add_shard(files, path));
  }
  RETURN_IF_ERROR(sort_and_check_names());
  for (const auto& [tensor, shard] : weight_map) {
    const TensorEntry* entry = find(tensor);
    if (entry == nullptr || entry->shard != shard_ids[shard]) {
      return data_loss(
          index_path + ": tensor \"" + printable(tensor) + "\" is not in its shard \"" + printable(shard) + "\"",
          printable(tensor));
    }
  }
  return {};
}

Status TensorIndex::add_shard(const FileSystem& files, const std::string& path) {
  ASSIGN_OR_RETURN(auto file, files.open_direct(path));
  ASSIGN_OR_RETURN(auto entries, read_safetensors_header(*file));
  for (TensorEntry& entry : entries) {
    entry.shard = static_cast<std::uint32_t>(files_.size());
    entries_->push_back(std::move(entry));
  }
  files_.push_back(std::move(file));
  return {};
}

Status TensorIndex::sort_and_check_names() {
  std::vector<TensorEntry>& entries = *entries_;
  std::sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
  for (std::size_t i = 1; i < entries.size(); ++i) {
    if (entries[i].name != entries[i - 1].name) continue;
    return data_loss("tensor \"" + printable(entries[i].name) + "\" is both in " + path_of(entries[i - 1]) +
                         " and in " + path_of(entries[i]),
                     printable(entries[i].name));
  }
  return {};
}

const TensorEntry* TensorIndex::find(std::string_view name) const {
  const auto at = std::lower_bound(entries_->begin(), entries_->end(), name,
                                   [](const TensorEntry& entry, std::string_view key) { return entry.name < key; });
  return at != entries_->end() && at->name == name ? &*at : nullptr;
}

namespace {

Status of_tensor(const TensorEntry& entry, Status status) {
  if (status.ok()) return status;
  return Status(status.code(), "tensor \"" + printable(entry.name) + "\": " + status.message(), entry.name);
}

}  // namespace

Status TensorIndex::read(const TensorEntry& entry, std::uint64_t begin, std::span<std::byte> out) const {
  if (begin > entry.bytes || out.size() > entry.bytes - begin) {
    return internal_error(path_of(entry) + ": read past the end of tensor " + printable(entry.name));
  }
  return of_tensor(entry, shard(entry.shard).read(entry.offset + begin, out));
}

Result<std::byte*> TensorIndex::read_pages(const TensorEntry& entry, std::uint64_t begin, std::size_t size,
                                           std::byte* buffer) const {
  const File& file = shard(entry.shard);
  if (!file.direct()) {
    RETURN_IF_ERROR(read(entry, begin, {buffer, size}));
    return buffer;
  }
  if (begin > entry.bytes || size > entry.bytes - begin) {
    return internal_error(path_of(entry) + ": read past the end of tensor " + printable(entry.name));
  }
  const std::uint64_t offset = entry.offset + begin;
  const std::uint64_t first = offset / kDirectPage * kDirectPage;
  const std::uint64_t pages_end = (offset + size + kDirectPage - 1) / kDirectPage * kDirectPage;
  const std::size_t bytes = std::min(pages_end, file.size()) - first;
  const std::size_t whole = bytes / kDirectPage * kDirectPage;
  RETURN_IF_ERROR(of_tensor(entry, file.read(first, {buffer, whole})));
  // The file ends within a page.
  if (whole < bytes) RETURN_IF_ERROR(of_tensor(entry, file.read(first + whole, {buffer + whole, bytes - whole})));
  return buffer + (offset - first);
}

}  // namespace foregate
