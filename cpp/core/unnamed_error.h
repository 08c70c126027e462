// What goes wrong far below any op: the call that Python made puts its name before the message.
#pragma once
#include "core/error.h"

namespace chainrule {

struct UnnamedError : Error { using Error::Error; };

}  // namespace chainrule
