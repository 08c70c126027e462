#pragma once
#include <string>
#include <vector>

#include "core/tensor.h"

namespace chainrule {

// Einstein summation: "bij,bjk->bik". Without "->" the output has the indices that occur once, in alphabetical order,
// after those of an ellipsis.
Tensor einsum(const std::string& equation, const std::vector<Tensor>& operands);

}  // namespace chainrule
