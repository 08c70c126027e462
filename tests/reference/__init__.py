"""What every operation should compute, in plain NumPy: the definitions, without speed or cleverness.

Nothing here imports the library under test. Functions bear PyTorch's names and argument names and take
arrays. `reference.softmax` and the like are the operations; optimizers, schedulers, initialisers and dtype
rules live in submodules of their own.
"""

from . import dtypes, init, optim, schedulers
from .conv import *  # noqa: F403
from .elementwise import *  # noqa: F403
from .joining import *  # noqa: F403
from .linalg import *  # noqa: F403
from .losses import *  # noqa: F403
from .norms import *  # noqa: F403
from .reductions import *  # noqa: F403
from .shapes import *  # noqa: F403

__all__ = ["dtypes", "init", "optim", "schedulers"]
