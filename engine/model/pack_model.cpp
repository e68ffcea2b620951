#include "engine/model/pack_model.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "engine/base/checksum.h"
#include "engine/io/gguf_write.h"
#include "engine/model/gguf_names.h"
#include "engine/model/model_source.h"
#include "engine/model/weight_packer.h"

namespace foregate {
namespace {

// What a model directory holds beside its weights and the engine reads.
constexpr const char* kSmallFiles[] = {"config.json",         "generation_config.json",
                                       "tokenizer.json",      "tokenizer_config.json",
                                       "chat_template.jinja", "additional_chat_templates/tool_use.jinja"};
constexpr std::uint64_t kMaxSmallFileBytes = std::uint64_t{256} << 20;

Result<std::vector<SmallFile>> read_small_files(const FileSystem& files, const std::string& dir) {
  std::vector<SmallFile> small;
  for (const char* name : kSmallFiles) {
    const std::string path = dir + "/" + name;
    if (!files.exists(path)) continue;
    ASSIGN_OR_RETURN(std::string text, read_text(files, path, kMaxSmallFileBytes));
    small.push_back({name, std::move(text)});
  }
  return small;
}

// The metadata of a GGUF model with the tensors of its configuration.
Result<std::vector<SmallFile>> make_metadata(const GgufHeader& header, const TensorIndex& index) {
  std::vector<GgufNumbers> tensors;
  for (const TensorEntry& entry : index.tensors()) {
    if (!is_gguf_config_tensor(entry.name)) continue;
    std::vector<float> values(entry.bytes / sizeof(float));  // of this type and size: read_gguf_config() saw to it
    RETURN_IF_ERROR(index.read(entry, 0, std::as_writable_bytes(std::span(values))));
    tensors.push_back({entry.name, std::move(values)});
  }
  return std::vector{SmallFile{kPackedMetadataName, write_gguf_metadata(header, tensors)}};
}

Result<std::vector<SmallFile>> small_files_of(const FileSystem& files, const OpenModel& model) {
  if (model.source.kind == ModelKind::kGguf) return make_metadata(model.gguf, model.index);
  return read_small_files(files, model.source.path);
}

// The unit that an item belongs to.
PackedUnit unit_of(const WeightItem& item) {
  PackedUnit unit;
  unit.layer = item.layer;
  unit.expert = item.expert;
  if (item.expert >= 0) {
    unit.kind = PackedKind::kExpert;
  } else if (item.layer < 0) {
    unit.kind = item.group == WeightGroup::kEmbedding ? PackedKind::kEmbedding : PackedKind::kHead;
  }
  return unit;
}

// Units in the order of the forward pass: embedding, every layer with its experts behind it, head.
void make_units(PackPlan& plan) {
  using Key = std::tuple<bool, std::int32_t, std::int32_t>;  // head, layer, expert
  std::map<Key, std::vector<std::size_t>> units;
  for (std::size_t i = 0; i < plan.items.size(); ++i) {
    const WeightItem& item = plan.items[i];
    units[{unit_of(item).kind == PackedKind::kHead, item.layer, item.expert}].push_back(i);
  }
  for (auto& [key, members] : units) {
    PackedUnit unit = unit_of(plan.items[members.front()]);
    for (const std::size_t i : members) {
      const WeightItem& item = plan.items[i];
      PackedTensor tensor{.name = item.name, .format = item.format, .shape = {item.rows}, .offset = 0};
      if (item.matrix != nullptr) tensor.shape.push_back(item.cols);
      unit.tensors.push_back(std::move(tensor));
    }
    plan.index.units.push_back(std::move(unit));
    plan.unit_items.push_back(std::move(members));
  }
}

// Changes with everything that the packed directory depends on. Of the weight files it takes size and time, not
// content.
std::uint64_t source_checksum(const PackPlan& plan, const PackOptions& options) {
  std::string text = plan.index.layout + " " + plan.index.quantization + " " + std::to_string(options.max_file_bytes);
  for (const SmallFile& small : plan.small_files) {
    text += "\n" + small.name + " " + checksum_text(checksum(small.text));
  }
  for (std::size_t i = 0; i < plan.source.shards(); ++i) {
    const File& file = plan.source.shard(i);
    const std::string name = file.path().substr(file.path().rfind('/') + 1);
    text += "\n" + name + " " + std::to_string(file.size()) + " " + std::to_string(file.modified_ns());
  }
  for (const WeightItem& item : plan.items) {
    text += "\n" + item.name + " " + item.entry->dtype_name + " " + std::to_string(item.entry->offset + item.begin) +
            " " + format_name(item.format) + " " + std::to_string(item.rows) + " " + std::to_string(item.cols);
  }
  return checksum(text);
}

// Packs the next unit of the writer. `done` grows by the source bytes of each piece.
class UnitPacker final : public UnitSource {
 public:
  UnitPacker(const PackPlan& plan, const OpTable& ops, Stream& stream, const PackProgress& progress)
      : plan_(plan), packer_(plan.source, ops, stream), progress_(progress) {
    for (const WeightItem& item : plan.items) total_bytes_ += source_bytes(item);
  }

  void skip(std::size_t unit) override {
    for (const std::size_t i : plan_.unit_items[unit]) done_bytes_ += source_bytes(plan_.items[i]);
  }

  Status write(std::size_t unit, PackedWriter& writer) override {
    if (!begun_) begin(unit);
    for (std::size_t t = 0; t < plan_.unit_items[unit].size(); ++t) {
      const std::uint64_t offset = plan_.index.units[unit].tensors[t].offset;
      RETURN_IF_ERROR(pack_item(plan_.items[plan_.unit_items[unit][t]], offset, writer));
    }
    return writer.end_unit();
  }

 private:
  // All units from here on are written.
  void begin(std::size_t unit) {
    std::vector<const WeightItem*> order;
    for (; unit < plan_.unit_items.size(); ++unit) {
      for (const std::size_t i : plan_.unit_items[unit]) order.push_back(&plan_.items[i]);
    }
    packer_.begin(order);
    begun_ = true;
  }

  Status pack_item(const WeightItem& item, std::uint64_t offset, PackedWriter& writer) {
    for (std::int64_t row = 0; row < item.rows;) {
      const std::int64_t rows = std::min(piece_rows(item), item.rows - row);
      packed_.resize(static_cast<std::size_t>(packed_bytes(item.format, rows, item.cols)));
      RETURN_IF_ERROR(packer_.pack(item, row, packed_.data()).status());
      row += rows;
      RETURN_IF_ERROR(writer.write(offset, packed_));
      offset += packed_.size();
      const std::int64_t done = done_bytes_ + source_bytes(item, row);
      if (progress_) progress_("pack", static_cast<double>(done) / static_cast<double>(total_bytes_));
    }
    done_bytes_ += source_bytes(item);
    return {};
  }

  const PackPlan& plan_;
  WeightPacker packer_;
  const PackProgress& progress_;
  std::vector<std::byte> packed_;
  bool begun_ = false;
  std::int64_t done_bytes_ = 0;
  std::int64_t total_bytes_ = 0;
};

}  // namespace

Result<PackPlan> plan_pack(const FileSystem& files, const std::string& path, const PackOptions& options) {
  ASSIGN_OR_RETURN(OpenModel model, open_model(files, path));
  if (model.index.packed() != nullptr) {
    return invalid_argument(path + " is packed already; pack the original", "MODEL");
  }
  ASSIGN_OR_RETURN(auto small_files, small_files_of(files, model));
  return plan_pack(std::move(model), std::move(small_files), options);
}

Result<PackPlan> plan_pack(OpenModel model, std::vector<SmallFile> small_files, const PackOptions& options) {
  PackPlan plan;
  plan.small_files = std::move(small_files);
  plan.config = std::move(model.config);
  plan.source = std::move(model.index);
  plan.unused = std::make_unique<ModelWeights>();
  ASSIGN_OR_RETURN(plan.items, plan_weights(plan.config, plan.source, options.weights, *plan.unused));
  if (options.weights.quantization) plan.index.quantization = format_name(*options.weights.quantization);
  make_units(plan);
  RETURN_IF_ERROR(lay_out(plan.index, options.max_file_bytes));
  plan.index.source = source_checksum(plan, options);
  return plan;
}

Result<PackReport> run_pack(const PackPlan& plan, const FileSystem& files, OutputDirectory& out, UnitSource& units,
                            const PackProgress& progress) {
  const ReadProgress reading_back = [&progress](std::uint64_t done, std::uint64_t total) {
    if (progress) progress("verify", static_cast<double>(done) / static_cast<double>(total));
  };
  ASSIGN_OR_RETURN(PackedWriter writer, PackedWriter::open(out, files, plan.index, reading_back));
  PackReport report;
  report.units_before = writer.next_unit();
  report.finished_before = writer.finished();
  for (std::size_t unit = 0; unit < plan.index.units.size(); ++unit) {
    if (unit < report.units_before) {
      units.skip(unit);
    } else {
      RETURN_IF_ERROR(units.write(unit, writer));
    }
  }
  if (!writer.finished()) RETURN_IF_ERROR(writer.finish(plan.small_files));
  report.index = writer.index();
  return report;
}

Result<PackReport> run_pack(const PackPlan& plan, const FileSystem& files, OutputDirectory& out, const OpTable& ops,
                            Stream& stream, const PackProgress& progress) {
  UnitPacker packer(plan, ops, stream, progress);
  return run_pack(plan, files, out, packer, progress);
}

}  // namespace foregate
