// How this thread's arithmetic rounds, and whether it takes denormal numbers for zero: a register of the processor.
#pragma once
#include <cstdint>
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace chainrule {

#if defined(__x86_64__) || defined(_M_X64)
inline constexpr uint64_t kFloatMode = 0xE040;      // of MXCSR: rounding, and
inline constexpr uint64_t kFlushDenormal = 0x8040;  // results and operands that are denormal are zero
inline uint64_t float_register() { return _mm_getcsr(); }
inline void set_float_register(uint64_t value) { _mm_setcsr(static_cast<unsigned>(value)); }
#elif defined(__aarch64__)
inline constexpr uint64_t kFloatMode = 0x1C00000, kFlushDenormal = 0x1000000;  // of FPCR
inline uint64_t float_register() {
  uint64_t value;
  asm volatile("mrs %0, fpcr" : "=r"(value));
  return value;
}
inline void set_float_register(uint64_t value) { asm volatile("msr fpcr, %0" : : "r"(value)); }
#else
inline constexpr uint64_t kFloatMode = 0, kFlushDenormal = 0;
inline uint64_t float_register() { return 0; }
inline void set_float_register(uint64_t) {}
#endif

inline uint64_t float_mode() { return float_register() & kFloatMode; }
inline void set_float_mode(uint64_t mode) { set_float_register((float_register() & ~kFloatMode) | mode); }

// False where the processor cannot.
inline bool set_flush_denormal(bool flush) {
  set_float_mode(flush ? float_mode() | kFlushDenormal : float_mode() & ~kFlushDenormal);
  return kFlushDenormal != 0;
}

}  // namespace chainrule
