"""What each initialiser draws from: the bound of its uniform or the deviation of its normal distribution."""

import math

GAINS = {
    "linear": 1.0,
    "conv2d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}


def calculate_gain(nonlinearity, param=None):
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope**2))
    return GAINS[nonlinearity]


def fans(shape):
    """Inputs and outputs of one weight (out, in, *kernel)."""
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def xavier_normal(shape, gain=1.0):
    return gain * math.sqrt(2 / sum(fans(shape)))


def xavier_uniform(shape, gain=1.0):
    return math.sqrt(3) * xavier_normal(shape, gain)


def kaiming_normal(shape, a=0, mode="fan_in", nonlinearity="leaky_relu"):
    return calculate_gain(nonlinearity, a) / math.sqrt(fans(shape)[mode == "fan_out"])


def kaiming_uniform(shape, a=0, mode="fan_in", nonlinearity="leaky_relu"):
    return math.sqrt(3) * kaiming_normal(shape, a, mode, nonlinearity)
