#include "engine/weights/packed_model.h"

#include "engine/weights/packed_index.h"

namespace foregate {

bool is_packed(const FileSystem& files, const std::string& dir) {
  return files.exists(dir + "/" + kPackedIndexName);
}

Status check_no_unfinished_pack(const FileSystem& files, const std::string& dir) {
  if (is_packed(files, dir) || !files.exists(dir + "/" + kPackJournalName)) return {};
  return data_loss(dir + " holds an unfinished pack: give `foregate pack` the same arguments again to finish it");
}

Result<PackedModel> PackedModel::open(const FileSystem& files, const std::string& dir) {
  const std::string path = dir + "/" + kPackedIndexName;
  ASSIGN_OR_RETURN(const std::string text, read_text(files, path, kMaxPackedIndexBytes));
  PackedModel model;
  ASSIGN_OR_RETURN(model.index_, parse_packed_index(text, path));
  for (std::uint32_t i = 0; i < model.index_.files.size(); ++i) {
    const PackedDataFile& listed = model.index_.files[i];
    const std::string data_path = dir + "/" + listed.name;
    if (!files.exists(data_path)) return data_loss(path + ": the file " + listed.name + " is missing");
    ASSIGN_OR_RETURN(auto file, files.open_direct(data_path));
    if (file->size() != listed.bytes) {
      return data_loss(data_path + " has " + std::to_string(file->size()) + " bytes, the index says " +
                       std::to_string(listed.bytes));
    }
    RETURN_IF_ERROR(check_header_page(model.index_, i, *file));
    model.files_.push_back(std::move(file));
  }
  return model;
}

}  // namespace foregate
