#include "kernels/isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace chainrule {
namespace {

constexpr const char* kNames[] = {"v2", "v3", "v4"};

int highest_supported() {
#ifdef CR_LEVELS
  __builtin_cpu_init();
  // By feature, since older Clangs do not know the levels' names.
#define CR_HAS(feature) (__builtin_cpu_supports(feature) != 0)
  const bool v3 = CR_HAS("avx2") && CR_HAS("fma") && CR_HAS("bmi") && CR_HAS("bmi2");
  const bool v4 = v3 && CR_HAS("avx512f") && CR_HAS("avx512bw") && CR_HAS("avx512cd") && CR_HAS("avx512dq") &&
                  CR_HAS("avx512vl");
#undef CR_HAS
  if (v4) return 2;
  if (v3) return 1;
#endif
  return 0;
}

int choose() {
  const int highest = highest_supported();
  const char* wish = std::getenv("CHAINRULE_ISA");
  if (wish == nullptr || *wish == '\0') return highest;
#ifdef CR_LEVELS
  for (int i = 0; i < 3; ++i)
    if (std::string(wish) == kNames[i] && i <= highest) return i;
  throw std::runtime_error("CHAINRULE_ISA=" + std::string(wish) + ": this machine runs v2 to " +
                           kNames[highest]);
#else
  if (std::string(wish) == "base") return 0;
  throw std::runtime_error("CHAINRULE_ISA=" + std::string(wish) + ": this build has one level, base");
#endif
}

}  // namespace

int isa_slot = highest_supported();

const char* isa_name() {
#ifdef CR_LEVELS
  return kNames[isa_slot];
#else
  return "base";
#endif
}

const char* isa_levels() {
#ifdef CR_LEVELS
  static constexpr const char* kLists[] = {"v2", "v2 v3", "v2 v3 v4"};
  return kLists[highest_supported()];
#else
  return "base";
#endif
}

void choose_isa() { isa_slot = choose(); }

}  // namespace chainrule
