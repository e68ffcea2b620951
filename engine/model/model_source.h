// What a path given by the user leads to, decided in one place: a Hugging Face directory, a GGUF model, or a directory
// that `foregate pack` made of either. A new kind of source is a value here, a rule in find_model() and a case in
// open_model(); its text is found in runtime/model_text.
#pragma once

#include <string>

#include "engine/base/status.h"
#include "engine/io/file.h"
#include "engine/io/gguf.h"
#include "engine/model/model_config.h"
#include "engine/weights/tensor_index.h"

namespace foregate {

// A packed Hugging Face model is laid out like the original; a packed GGUF model has its metadata in a file of its own.
enum class ModelKind { kHuggingFace, kGguf, kPackedGguf };

struct ModelSource {
  ModelKind kind = ModelKind::kHuggingFace;
  std::string path;  // the directory, or the (first) GGUF file
};

// A file must be a GGUF file. A directory is taken for a Hugging Face model unless it is a packed GGUF model, or has no
// weights of that kind but one GGUF model. kNotFound, kDataLoss for an unfinished pack, or kInvalidArgument when
// several GGUF models are there.
Result<ModelSource> find_model(const FileSystem& files, const std::string& path);

// A model of which nothing but headers is read.
struct OpenModel {
  ModelSource source;
  ModelConfig config;
  TensorIndex index;
  GgufHeader gguf;  // kGguf, kPackedGguf: the metadata, for the tokenizer
};

// The file that holds a model's GGUF metadata; not for kHuggingFace.
std::string gguf_metadata_path(const ModelSource& source);

// Errors of find_model(), read_model_config(), read_gguf_config() and TensorIndex.
Result<OpenModel> open_model(const FileSystem& files, const std::string& path);

// The model's name: the last part of the path, of a GGUF file without ".gguf" and the place in a split.
std::string model_name(const std::string& path);

}  // namespace foregate
