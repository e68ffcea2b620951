// Fibers: stacks of their own on one thread, switched by hand. Used by the emulator's grid alone.
#pragma once

#include <cstddef>
#include <vector>

namespace foregate::emu {

class FiberStacks {
 public:
  FiberStacks() = default;
  FiberStacks(const FiberStacks&) = delete;
  FiberStacks& operator=(const FiberStacks&) = delete;
  ~FiberStacks();
  // Top of the stack of fiber `index`; below it lies a guard page.
  std::byte* top(std::size_t index);

 private:
  std::vector<std::byte*> stacks_;
};

// A suspended flow of control.
struct Context {
  void* stack_pointer = nullptr;
};
// `entry` runs on the stack when it is first switched to; it must never return.
void prepare(Context& context, std::byte* stack_top, void (*entry)());
void switch_to(Context& from, Context& to);

}  // namespace foregate::emu
