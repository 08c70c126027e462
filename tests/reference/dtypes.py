"""PyTorch's rule of type promotion, written down."""

DTYPES = ("bool", "uint8", "int32", "int64", "float32", "float64")
KIND = {"bool": 0, "uint8": 1, "int32": 1, "int64": 1, "float32": 2, "float64": 2}


def widest(names):
    """Within a kind the larger type wins; none of the pairs here has to widen (uint8 fits every other)."""
    return max(names, key=DTYPES.index, default=None)


def result_type(*operands, default="float32"):
    """The dtype of an operation. An operand is (dtype, ndim), or a Python bool, int or float.

    Tensors with dimensions decide; a tensor without, and after it a Python number, only matters when its
    kind (boolean, integer, floating) is higher than all that came before. A number that wins takes int64 or
    the default dtype.
    """
    scalars = {bool: "bool", int: "int64", float: default}
    classes = (
        [o[0] for o in operands if isinstance(o, tuple) and o[1] > 0],
        [o[0] for o in operands if isinstance(o, tuple) and o[1] == 0],
        [scalars[type(o)] for o in operands if not isinstance(o, tuple)],
    )
    result = None
    for names in classes:
        highest = widest(names)
        if highest and (result is None or KIND[highest] > KIND[result]):
            result = highest
    return result


def can_cast(source, target):
    """An in-place result may lose width but not its kind."""
    return KIND[source] <= KIND[target]
