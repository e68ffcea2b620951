// `foregate pack`: writes a model as a packed directory (engine/weights/packed_format.h), so that loading it is
// reading. Holds one piece of a weight at a time. One thread; packing itself runs on the stream's pool.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/model_config.h"
#include "engine/model/model_source.h"
#include "engine/model/weight_plan.h"
#include "engine/weights/packed_writer.h"
#include "engine/weights/tensor_index.h"
#include "kernels/api/op_table.h"

namespace foregate {

// The largest file that every file system takes, in whole pages.
inline constexpr std::uint64_t kMaxDataFileBytes = (std::uint64_t{4} << 30) - kPackedPage;

struct PackOptions {
  WeightPlanOptions weights;
  std::uint64_t max_file_bytes = kMaxDataFileBytes;  // of a data file with more than one unit
};

// Everything decided before the first byte is written.
struct PackPlan {
  ModelConfig config;
  TensorIndex source;
  std::vector<WeightItem> items;
  std::vector<std::vector<std::size_t>> unit_items;  // by unit: its items, in the order of its tensors
  PackedIndex index;
  std::vector<SmallFile> small_files;
  std::unique_ptr<ModelWeights> unused;  // what the items point into
};

// `path` leads to a model as find_model() takes it. Errors as open_model() and load_weights() have them;
// kInvalidArgument when the model is packed already.
Result<PackPlan> plan_pack(const FileSystem& files, const std::string& path, const PackOptions& options);
// Of an opened model that is not packed, with the small files that go along.
Result<PackPlan> plan_pack(OpenModel model, std::vector<SmallFile> small_files, const PackOptions& options);

struct PackReport {
  PackedIndex index;
  std::size_t units_before = 0;  // that were on the disk already
  bool finished_before = false;  // nothing was left to write, not even the index
};

// `stage` is "verify" while what an earlier run wrote is read back, then "pack"; `fraction` of it is done.
using PackProgress = std::function<void(std::string_view stage, double fraction)>;

// Where the bytes of a plan's units come from: asked for each unit in order, of which the first may be there already.
class UnitSource {
 public:
  virtual ~UnitSource() = default;
  virtual void skip(std::size_t unit) = 0;
  // Writes the tensors of the next unit of `writer` at their offsets and ends it.
  virtual Status write(std::size_t unit, PackedWriter& writer) = 0;
};

// Writes what `out` lacks of the plan. A finished directory of the same plan is left as it is. Errors as PackedWriter
// has them; after one the directory holds an unfinished pack, which the same call finishes.
Result<PackReport> run_pack(const PackPlan& plan, const FileSystem& files, OutputDirectory& out, UnitSource& units,
                            const PackProgress& progress);
// The same with the weights of the plan's source.
Result<PackReport> run_pack(const PackPlan& plan, const FileSystem& files, OutputDirectory& out, const OpTable& ops,
                            Stream& stream, const PackProgress& progress);

}  // namespace foregate
