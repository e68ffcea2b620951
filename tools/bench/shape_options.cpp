#include "tools/bench/shape_options.h"

#include <CLI/CLI.hpp>
#include <vector>

#include "tools/bench/shapes.h"

namespace foregate {

CLI::Option* add_shape_options(CLI::App& app, const char* shape_help, ShapeChoice& choice) {
  std::vector<std::string> shapes;
  for (const ModelShape& shape : all_shapes()) shapes.emplace_back(shape.name);
  CLI::Option* shape = app.add_option("--shape", choice.shape, shape_help)->check(CLI::IsMember(shapes));
  app.add_option("--layers", choice.layers, "layers of the shape; 0 takes its own number")
      ->check(CLI::Range(0, 1000))
      ->needs(shape);
  app.add_option("--skew", choice.routing.skew,
                 "of a shape: the r-th most popular expert is chosen in proportion to r^-SKEW")
      ->check(CLI::Range(0.0, kMostSkew))
      ->needs(shape);
  app.add_option("--affinity", choice.routing.affinity,
                 "of a shape: how far the experts of a layer decide those of the next, 0 to 1")
      ->check(CLI::Range(0.0, 1.0))
      ->needs(shape);
  return shape;
}

}  // namespace foregate
