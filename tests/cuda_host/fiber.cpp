#include "tests/cuda_host/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#if !defined(__x86_64__)
#error "the emulator's fibers are written for x86-64"
#endif

namespace foregate::emu {
namespace {
constexpr std::size_t kStackBytes = 128 * 1024;
constexpr std::size_t kGuardBytes = 4096;
}  // namespace

// Registers that a call preserves (System V), then the stack.
asm(R"(
.text
.type fg_switch_stacks,@function
fg_switch_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq (%rsi), %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size fg_switch_stacks,.-fg_switch_stacks
)");
extern "C" void fg_switch_stacks(void* from, void* to) asm("fg_switch_stacks");

void switch_to(Context& from, Context& to) {
  fg_switch_stacks(&from.stack_pointer, &to.stack_pointer);
}

void prepare(Context& context, std::byte* stack_top, void (*entry)()) {
#if defined(__SANITIZE_ADDRESS__)  // fibers never return, so marks of their last frames are left
  ASAN_UNPOISON_MEMORY_REGION(stack_top - (kStackBytes - kGuardBytes), kStackBytes - kGuardBytes);
#endif
  auto at = reinterpret_cast<std::uintptr_t>(stack_top) & ~std::uintptr_t{15};
  at -= 8;  // as after a call: entry finds a return address above it, which is never used
  auto* words = reinterpret_cast<void**>(at);
  words[0] = nullptr;
  words[-1] = reinterpret_cast<void*>(entry);
  for (int i = 2; i <= 7; ++i) words[-i] = nullptr;
  context.stack_pointer = words - 7;
}

FiberStacks::~FiberStacks() {
  for (std::byte* stack : stacks_) munmap(stack, kStackBytes);
}

std::byte* FiberStacks::top(std::size_t index) {
  while (stacks_.size() <= index) {
    void* memory =
        mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    mprotect(memory, kGuardBytes, PROT_NONE);
    stacks_.push_back(static_cast<std::byte*>(memory));
  }
  return stacks_[index] + kStackBytes;
}

}  // namespace foregate::emu
