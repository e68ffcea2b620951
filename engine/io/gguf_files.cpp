#include "engine/io/gguf_files.h"

#include <algorithm>
#include <cstdio>
#include <optional>

namespace foregate {
namespace {

constexpr std::int64_t kMaxFiles = 4096;
constexpr std::string_view kEnding = ".gguf";
constexpr std::size_t kSplitEnding = std::string_view("-00001-of-00002.gguf").size();

struct SplitPlace {
  std::int64_t number = 0;  // from 0
  std::int64_t count = 1;
};

std::string split_ending(std::int64_t number, std::int64_t count) {
  char text[64];
  std::snprintf(text, sizeof text, "-%05lld-of-%05lld.gguf", static_cast<long long>(number + 1),
                static_cast<long long>(count));
  return text;
}

// What the file's name says of its place; none when it is not named like a part of a split.
std::optional<SplitPlace> place_by_name(const std::string& path) {
  if (path.size() < kSplitEnding) return std::nullopt;
  long long number = 0, count = 0;
  const std::string ending = path.substr(path.size() - kSplitEnding);
  if (std::sscanf(ending.c_str(), "-%5lld-of-%5lld.gguf", &number, &count) != 2) return std::nullopt;
  if (number < 1 || number > count || ending != split_ending(number - 1, count)) return std::nullopt;
  return SplitPlace{number - 1, count};
}

Result<std::int64_t> split_key(const File& file, const GgufHeader& header, const char* key, std::int64_t high,
                               std::int64_t otherwise) {
  const GgufValue* value = header.find(key);
  if (value == nullptr) return otherwise;
  const auto number = value->is_array ? std::nullopt : value->integer();
  if (number && *number >= 0 && *number <= high) return *number;
  return data_loss(file.path() + ": " + key + " must lie between 0 and " + std::to_string(high), key);
}

Result<SplitPlace> place_by_metadata(const File& file, const GgufHeader& header) {
  SplitPlace place;
  ASSIGN_OR_RETURN(place.number, split_key(file, header, "split.no", kMaxFiles - 1, 0));
  ASSIGN_OR_RETURN(place.count, split_key(file, header, "split.count", kMaxFiles, 1));
  place.count = std::max<std::int64_t>(place.count, 1);
  return place;
}

Status check_place(const File& file, const GgufHeader& header, const SplitPlace& expected) {
  ASSIGN_OR_RETURN(const SplitPlace place, place_by_metadata(file, header));
  if (place.number == expected.number && place.count == expected.count) return {};
  return data_loss(file.path() + ": says that it is file " + std::to_string(place.number + 1) + " of " +
                       std::to_string(place.count) + " of a split, where file " + std::to_string(expected.number + 1) +
                       " of " + std::to_string(expected.count) + " belongs",
                   "split.no");
}

Status check_tensor_count(const GgufModel& model) {
  std::int64_t found = 0;
  for (const auto& tensors : model.tensors) found += static_cast<std::int64_t>(tensors.size());
  const File& first = *model.files.front();
  ASSIGN_OR_RETURN(const std::int64_t announced,
                   split_key(first, model.header, "split.tensors.count", INT32_MAX, found));
  if (announced == found) return {};
  return data_loss(first.path() + ": split.tensors.count is " + std::to_string(announced) + " but the files hold " +
                       std::to_string(found) + " tensors",
                   "split.tensors.count");
}

// The files after the first.
Status open_followers(const FileSystem& files, const std::string& path, std::int64_t count, GgufModel& model) {
  const auto named = place_by_name(path);
  if (!named || named->number != 0 || named->count != count) {
    return invalid_argument(path + " is the first of " + std::to_string(count) +
                                " files of a split but is not named <name>" + split_ending(0, count),
                            "split.count");
  }
  const std::string stem = path.substr(0, path.size() - kSplitEnding);
  for (std::int64_t i = 1; i < count; ++i) {
    ASSIGN_OR_RETURN(auto file, files.open_direct(stem + split_ending(i, count)));
    ASSIGN_OR_RETURN(GgufHeader header, read_gguf_header(*file));
    RETURN_IF_ERROR(check_place(*file, header, {i, count}));
    model.tensors.push_back(std::move(header.tensors));
    model.files.push_back(std::move(file));
  }
  return check_tensor_count(model);
}

}  // namespace

Result<GgufModel> open_gguf(const FileSystem& files, const std::string& path) {
  GgufModel model;
  ASSIGN_OR_RETURN(auto file, files.open_direct(path));
  ASSIGN_OR_RETURN(model.header, read_gguf_header(*file));
  ASSIGN_OR_RETURN(const SplitPlace place, place_by_metadata(*file, model.header));
  if (place.number != 0) {
    return invalid_argument(path + " is file " + std::to_string(place.number + 1) + " of " +
                                std::to_string(place.count) + " of a split; give the first one",
                            "split.no");
  }
  model.files.push_back(std::move(file));
  model.tensors.push_back(std::move(model.header.tensors));
  model.header.tensors.clear();
  if (place.count > 1) RETURN_IF_ERROR(open_followers(files, path, place.count, model));
  return model;
}

Result<std::vector<std::string>> list_gguf_models(const FileSystem& files, const std::string& dir) {
  ASSIGN_OR_RETURN(auto names, files.list(dir));
  std::vector<std::string> models;
  for (const std::string& name : names) {
    if (!name.ends_with(kEnding)) continue;
    const auto place = place_by_name(name);
    if (!place || place->number == 0) models.push_back(dir + "/" + name);
  }
  std::sort(models.begin(), models.end());
  return models;
}

}  // namespace foregate
