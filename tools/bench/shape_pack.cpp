#include "tools/bench/shape_pack.h"

#include <utility>
#include <vector>

#include "engine/io/gguf_write.h"
#include "tools/bench/shape_metadata.h"
#include "tools/bench/shape_weights.h"

namespace foregate {
namespace {

class ShapeUnits final : public UnitSource {
 public:
  ShapeUnits(const PackPlan& plan, ShapeWeights weights, int threads, const PackProgress& progress)
      : plan_(plan), weights_(std::move(weights)), threads_(threads), progress_(progress) {}

  void skip(std::size_t unit) override { done_bytes_ += plan_.index.units[unit].bytes; }

  Status write(std::size_t unit, PackedWriter& writer) override {
    const PackedUnit& packed = plan_.index.units[unit];
    if (bytes_.capacity() < packed.bytes) bytes_ = std::vector<std::byte>();  // never two of them
    bytes_.assign(packed.bytes, std::byte{0});
    std::vector<WeightPlace> places;
    for (std::size_t t = 0; t < packed.tensors.size(); ++t) {
      places.push_back({plan_.unit_items[unit][t], bytes_.data() + packed.tensors[t].offset});
    }
    weights_.fill(places, threads_);
    RETURN_IF_ERROR(writer.write(0, bytes_));
    RETURN_IF_ERROR(writer.end_unit());
    done_bytes_ += packed.bytes;
    if (progress_) progress_("pack", static_cast<double>(done_bytes_) / static_cast<double>(plan_.index.data_bytes()));
    return {};
  }

 private:
  const PackPlan& plan_;
  ShapeWeights weights_;
  int threads_;
  const PackProgress& progress_;
  std::vector<std::byte> bytes_;  // of the unit
  std::uint64_t done_bytes_ = 0;
};

}  // namespace

Result<PackPlan> plan_shape_pack(const ShapePackOptions& options) {
  RETURN_IF_ERROR(check_routing(options.routing));
  ASSIGN_OR_RETURN(OpenModel model,
                   open_shape(options.shape, options.layers, options.quantization, options.routing.skew != 0.0));
  const ShapeMaking making{options.quantization, options.routing};
  ASSIGN_OR_RETURN(const GgufHeader header, shape_metadata(*find_shape(options.shape), model.config, making));
  std::vector<SmallFile> small = {{kPackedMetadataName, write_gguf_metadata(header, {})}};
  return plan_pack(std::move(model), std::move(small), {.weights = {}, .max_file_bytes = options.max_file_bytes});
}

Result<PackReport> run_shape_pack(const PackPlan& plan, const RoutingPlan& routing, int threads,
                                  const FileSystem& files, OutputDirectory& out, const PackProgress& progress) {
  ASSIGN_OR_RETURN(ShapeWeights weights, ShapeWeights::create(plan.config, plan.items, routing));
  ShapeUnits units(plan, std::move(weights), threads, progress);
  return run_pack(plan, files, out, units, progress);
}

}  // namespace foregate
