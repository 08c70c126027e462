#include "core/cpu_quota.h"

#include <algorithm>
#include <fstream>

namespace chainrule {
namespace {

constexpr int64_t kUnlimited = INT64_MAX;

int64_t processors(int64_t quota, int64_t period) {
  return quota > 0 && period > 0 ? (quota - 1) / period + 1 : kUnlimited;
}

// Version 2: "200000 100000", or "max 100000".
int64_t unified_limit(const std::string& group) {
  std::ifstream file(group + "/cpu.max");
  int64_t quota = 0, period = 0;
  return file >> quota >> period ? processors(quota, period) : kUnlimited;
}

// Version 1: a quota of -1 is none.
int64_t legacy_limit(const std::string& group) {
  const auto number = [&](const char* name) {
    std::ifstream file(group + name);
    int64_t value = 0;
    return file >> value ? value : 0;
  };
  return processors(number("/cpu.cfs_quota_us"), number("/cpu.cfs_period_us"));
}

// Of a group, those above it and the root. In a container the path may be the host's, and the mount its own group: then
// only the root is there, and says what holds.
int64_t least_upwards(int64_t (*limit)(const std::string&), const std::string& mount, std::string path) {
  int64_t least = limit(mount);
  for (; !path.empty() && path.front() == '/'; path.resize(path.rfind('/')))
    least = std::min(least, limit(mount + path));
  return least;
}

bool has_cpu(const std::string& controllers) {
  return ("," + controllers + ",").find(",cpu,") != std::string::npos;
}

}  // namespace

int64_t cpu_quota(const std::string& membership, const std::string& mounts) {
  int64_t least = std::min(unified_limit(mounts), legacy_limit(mounts + "/cpu"));
  std::ifstream groups(membership);
  for (std::string line; std::getline(groups, line);) {  // hierarchy:controllers:path
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1),
                      path = line.substr(second + 1);
    if (controllers.empty())
      least = std::min(least, least_upwards(unified_limit, mounts, path));
    else if (has_cpu(controllers))
      for (const std::string& name : {std::string("cpu"), controllers})  // /sys/fs/cgroup/cpu,cpuacct
        least = std::min(least, least_upwards(legacy_limit, mounts + "/" + name, path));
  }
  return least == kUnlimited ? 0 : least;
}

}  // namespace chainrule
