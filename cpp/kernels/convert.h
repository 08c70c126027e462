// The loops between dtypes: contiguous arrays in, contiguous arrays out. Layouts are core/loop.h's.
#pragma once
#include "core/dtype.h"
#include "kernels/isa.h"
#include "kernels/loop_args.h"

namespace chainrule {

struct ConvertLoops { Loop loop[kDTypes][kDTypes]; };  // [to][from]; to the same dtype: null
struct ConvertArgs { ConvertLoops* loops; };
CR_KERNEL(fill_convert_loops, ConvertArgs)

}  // namespace chainrule
