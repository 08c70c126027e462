"""chainrule: differentiation and training on CPUs.

PyTorch's names and semantics for tensors, layers and optimizers, in a small compiled library whose results are the same
bits at any number of threads.
"""

from __future__ import annotations

from math import e as e
from math import inf as inf
from math import nan as nan
from math import pi as pi

from chainrule import _tensor
from chainrule import autograd as autograd
from chainrule import cpu as cpu
from chainrule import nn as nn
from chainrule import optim as optim
from chainrule import random as random
from chainrule import utils as utils
from chainrule._core import *
from chainrule._tensor_str import set_printoptions as set_printoptions
from chainrule.autograd import enable_grad as enable_grad
from chainrule.autograd import inference_mode as inference_mode
from chainrule.autograd import no_grad as no_grad
from chainrule.autograd import set_grad_enabled as set_grad_enabled
from chainrule.config import __version__ as __version__
from chainrule.config import show_config as show_config
from chainrule.serialization import load as load
from chainrule.serialization import save as save

newaxis = None
_tensor.install()
