"""The named tuples that functions with several results return: `values, indices = x.sort()`, `x.sort().indices`."""

from chainrule._core import _return_types

sort = _return_types.sort
topk = _return_types.topk
max = _return_types.max
min = _return_types.min
kthvalue = _return_types.kthvalue
