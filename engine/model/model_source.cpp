#include "engine/model/model_source.h"

#include <cstring>

#include "engine/io/gguf_files.h"
#include "engine/model/config_gguf.h"
#include "engine/model/gguf_names.h"
#include "engine/weights/checked_json.h"
#include "engine/weights/packed_format.h"

namespace foregate {
namespace {

constexpr const char* kWeightFiles[] = {"model.safetensors", "model.safetensors.index.json", kPackedIndexName};

std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

bool starts_like_gguf(const FileSystem& files, const std::string& path) {
  auto file = files.open(path);
  char magic[4] = {};
  return file.ok() && (*file)->size() >= sizeof(magic) &&
         (*file)->read(0, std::as_writable_bytes(std::span(magic))).ok() && std::memcmp(magic, "GGUF", 4) == 0;
}

Result<OpenModel> open_gguf_model(const FileSystem& files, ModelSource source) {
  OpenModel model;
  ASSIGN_OR_RETURN(GgufModel gguf, open_gguf(files, source.path));
  ASSIGN_OR_RETURN(model.index, TensorIndex::from_gguf(gguf));
  ASSIGN_OR_RETURN(model.config, read_gguf_config(gguf.header, model.index, model.index, source.path));
  model.gguf = std::move(gguf.header);
  model.source = std::move(source);
  return model;
}

// The weights are in the packed files, everything else in the metadata file.
Result<OpenModel> open_packed_gguf_model(const FileSystem& files, ModelSource source) {
  OpenModel model;
  const std::string path = gguf_metadata_path(source);
  ASSIGN_OR_RETURN(GgufModel gguf, open_gguf(files, path));
  ASSIGN_OR_RETURN(const TensorIndex numbers, TensorIndex::from_gguf(gguf));
  for (const TensorEntry& entry : numbers.tensors()) {
    if (is_gguf_config_tensor(entry.name)) continue;
    return data_loss(path + ": tensor \"" + printable(entry.name) + "\" does not belong into the metadata of a pack",
                     printable(entry.name));
  }
  ASSIGN_OR_RETURN(model.index, TensorIndex::open(files, source.path));
  ASSIGN_OR_RETURN(model.config, read_gguf_config(gguf.header, model.index, numbers, path));
  model.gguf = std::move(gguf.header);
  model.source = std::move(source);
  return model;
}

}  // namespace

Result<ModelSource> find_model(const FileSystem& files, const std::string& path) {
  const std::string place = without_trailing_slashes(path);
  const auto names = files.list(place);
  if (!names.ok()) {
    if (starts_like_gguf(files, place)) return ModelSource{ModelKind::kGguf, place};
    if (!files.exists(place)) return not_found(place + ": no such file or directory");
    return invalid_argument(place + " is neither a directory nor a GGUF file", "model");
  }
  for (const std::string_view weights : kWeightFiles) {
    if (!files.exists(place + "/" + std::string(weights))) continue;
    const bool gguf = weights == kPackedIndexName && files.exists(place + "/" + kPackedMetadataName);
    return ModelSource{gguf ? ModelKind::kPackedGguf : ModelKind::kHuggingFace, place};
  }
  RETURN_IF_ERROR(check_no_unfinished_pack(files, place));
  ASSIGN_OR_RETURN(const auto models, list_gguf_models(files, place));
  if (models.empty()) return ModelSource{ModelKind::kHuggingFace, place};
  if (models.size() == 1) return ModelSource{ModelKind::kGguf, models.front()};
  return invalid_argument(place + " holds several GGUF models; give the path of one, such as " + models.front(),
                          "model");
}

Result<OpenModel> open_model(const FileSystem& files, const std::string& path) {
  ASSIGN_OR_RETURN(ModelSource source, find_model(files, path));
  if (source.kind == ModelKind::kGguf) return open_gguf_model(files, std::move(source));
  if (source.kind == ModelKind::kPackedGguf) return open_packed_gguf_model(files, std::move(source));
  OpenModel model;
  ASSIGN_OR_RETURN(model.config, read_model_config(files, source.path));
  ASSIGN_OR_RETURN(model.index, TensorIndex::open(files, source.path));
  model.source = std::move(source);
  return model;
}

std::string gguf_metadata_path(const ModelSource& source) {
  return source.kind == ModelKind::kPackedGguf ? source.path + "/" + kPackedMetadataName : source.path;
}

std::string model_name(const std::string& path) {
  std::string name = without_trailing_slashes(path);
  name = name.substr(name.find_last_of('/') + 1);
  constexpr std::string_view kEnding = ".gguf";
  constexpr std::string_view kFirst = "-00001-of-";
  if (name.size() <= kEnding.size() || !name.ends_with(kEnding)) return name;
  name.resize(name.size() - kEnding.size());
  const std::size_t split = name.rfind(kFirst);
  if (split != std::string::npos && split > 0 && split + kFirst.size() + 5 == name.size()) name.resize(split);
  return name;
}

}  // namespace foregate
