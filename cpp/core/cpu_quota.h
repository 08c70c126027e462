// How many processors' time a container may take: the quotas of Linux's control groups.
#pragma once
#include <cstdint>
#include <string>

namespace chainrule {

// The least quota of the groups that the process is in and of those above them, rounded up to whole processors; 0 when
// nothing limits it. membership: the process's /proc/self/cgroup; mounts: where the hierarchies are mounted.
int64_t cpu_quota(const std::string& membership = "/proc/self/cgroup",
                  const std::string& mounts = "/sys/fs/cgroup");

}  // namespace chainrule
