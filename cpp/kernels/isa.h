// Instruction sets. A kernel source is one file compiled once per level, each time with CR_ISA naming the level's own
// namespace: `namespace chainrule::CR_ISA { void softmax_kernel(const SoftmaxArgs& a) {...} }`.
// A header declares it once with CR_KERNEL(softmax_kernel, SoftmaxArgs), and everyone calls
// `kernels::softmax_kernel(args)`, which runs the level that was chosen when the library was loaded.
//
// Rule of the house: a kernel source may instantiate no template and no inline function outside of its CR_ISA
// namespace (std::vector, std::sort, ...): the linker keeps one copy of such a function, and it could be the
// AVX-512 one. `.ci/run` checks the objects for it. Argument structs are plain data.
#pragma once

#ifndef CR_ISA
#define CR_ISA neutral  // code that is compiled once, for the oldest machine
#endif

namespace chainrule {

extern int isa_slot;  // index into the compiled levels; set at load time
const char* isa_name();
const char* isa_levels();  // those that this machine runs: "v2 v3 v4"
void choose_isa();         // reads CHAINRULE_ISA; throws std::runtime_error when this machine lacks the level

template <class Args> struct Kernel {
  using Fn = void (*)(const Args&);
  Fn level[3];
  void operator()(const Args& args) const { level[isa_slot](args); }
};

#if (defined(__x86_64__) || defined(_M_X64)) && !defined(CR_ONE_LEVEL)
#define CR_LEVELS 1
#define CR_KERNEL(name, Args)              \
  namespace v2 { void name(const Args&); } \
  namespace v3 { void name(const Args&); } \
  namespace v4 { void name(const Args&); } \
  namespace kernels { inline constexpr Kernel<Args> name{{v2::name, v3::name, v4::name}}; }
#else
#define CR_KERNEL(name, Args)                \
  namespace base { void name(const Args&); } \
  namespace kernels { inline constexpr Kernel<Args> name{{base::name, base::name, base::name}}; }
#endif

}  // namespace chainrule
