// The server process: listens, loads the model meanwhile, serves, drains on a signal. Called by
// the program's main thread, which becomes the I/O thread.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "engine/base/metrics.h"
#include "engine/base/status.h"
#include "server/config/options.h"
#include "server/generate/served_model.h"

namespace foregate {

class MpiJob;

// `stage` of loading and the part of it done, 0..1; called on the loading thread.
using LoadProgress = std::function<void(std::string_view stage, double fraction)>;
// Makes the served; runs on a thread of its own. `metrics` outlives the served.
using BackendLoader = std::function<Result<std::shared_ptr<const ServedModel>>(const ServeOptions&, Metrics& metrics,
                                                                               const LoadProgress&)>;

// The loader of the real engine (engine/runtime/boot.h). `job`: whose rank 0 this process is; null: of none.
BackendLoader engine_loader(std::shared_ptr<MpiJob> job = nullptr);

// Serves until a signal. Exit code: 0 after a drain, 2 when options or model are wrong, 1 otherwise.
int run_server(const ServeOptions& options, const BackendLoader& loader);

// What a chat needs to be tried from a shell, for the address the server listens on.
std::string curl_line(const ServeOptions& options, const ServedModel& served, int port);

}  // namespace foregate
