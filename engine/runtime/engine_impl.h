// The Engine that make_engine gives: a facade over the engine thread. Any thread may call it.
#pragma once

#include <cstdint>
#include <memory>
#include <thread>

#include "engine/runtime/engine_parts.h"
#include "engine/runtime/engine_shared.h"
#include "engine/runtime/kv_figures.h"
#include "engine/runtime/loop.h"

namespace foregate {

// Who takes the turns of the loop: a thread of the engine's own, or whoever made it, by turn().
enum class Drive : std::uint8_t { kThread, kCaller };

class EngineImpl final : public Engine {
 public:
  explicit EngineImpl(EngineParts parts, Drive drive = Drive::kThread);
  ~EngineImpl() override;  // ends every live sample with kCancelled, then joins the engine thread
  Status submit(Request request, std::shared_ptr<EventSink> sink) override;
  Status check_room(std::uint64_t client) override;
  void cancel(RequestId id) override;
  void cancel(RequestId id, std::int32_t index) override;
  void set_paused(RequestId id, bool paused) override;
  void refresh() override { shared_.inbox.wake(); }
  void begin_drain() override;
  bool idle() const override;
  bool healthy() const override;
  EngineStats stats() const override;
  std::vector<LiveSample> live() const override;
  const ModelInfo& model() const override { return info_; }
  const Limits& limits() const override { return limits_; }
  // Drive::kCaller, always on the same thread: EngineLoop::turn() and audit().
  bool turn() { return loop_->turn(); }
  Status audit() const { return loop_->audit(); }

 private:
  Status check_submit(const Request& request) const;
  const ModelInfo info_;
  const Limits limits_;
  const Clock& clock_;
  const KvRoom room_;
  EngineShared shared_;
  std::unique_ptr<EngineLoop> loop_;
  std::thread thread_;
};

}  // namespace foregate
