# Made from the compiled module by .ci/stubs.py: run that instead of editing this.
from builtins import bool as _bool, float as _float, int as _int, str as _str
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias
from typing_extensions import Self

from . import Generator, Size, Tensor, _device, _dtype, _Scalar

from . import _kthvalue
kthvalue = _kthvalue
from . import _max
max = _max
from . import _min
min = _min
from . import _sort
sort = _sort
from . import _topk
topk = _topk
