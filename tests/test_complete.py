"""Nothing public without a row, and nothing that was promised left out."""

import inspect

import numpy as np
import pytest

from lib import NAME, array, cr, map_leaves, tensor
from registry import ROWS
from registry.modules import ROWS as LAYERS
from registry.optimizers import CONSTANT, NORMAL, OPTIMIZERS, SCHEDULERS, UNIFORM

OPERATIONS = {row.name for row in ROWS}
INPLACE = {row.name + "_" for row in ROWS if row.inplace}

# What the library must have, by the name that users know.
PROMISED = """
    abs neg sign exp exp2 expm1 log log2 log10 log1p sqrt rsqrt square pow reciprocal sin cos tan asin
    acos atan atan2 sinh cosh tanh sigmoid erf erfc relu clamp maximum minimum floor ceil round trunc fmod
    remainder isnan isinf isfinite lerp hypot logaddexp leaky_relu elu gelu silu softplus mish sum mean
    prod max min amax amin var std norm logsumexp cumsum cumprod all any softmax log_softmax reshape view
    transpose permute t T mT squeeze unsqueeze expand expand_as broadcast_to flatten unflatten split chunk
    unbind narrow select movedim contiguous clone cat stack repeat tile repeat_interleave flip roll tril
    triu where gather scatter scatter_add index_select index_add masked_fill masked_select sort argsort
    topk argmax argmin nonzero unique one_hot pad matmul mm bmm mv dot outer einsum tensordot addmm
    baddbmm isclose add sub mul div floor_divide eq ne lt le gt ge logical_and logical_or logical_xor
    logical_not bitwise_and bitwise_or bitwise_xor bitwise_not linear conv2d max_pool2d avg_pool2d
    adaptive_avg_pool2d batch_norm layer_norm group_norm rms_norm embedding dropout
    scaled_dot_product_attention mse_loss l1_loss smooth_l1_loss cross_entropy nll_loss
    binary_cross_entropy binary_cross_entropy_with_logits
""".split()
PROMISED_LAYERS = """
    Linear Conv2d MaxPool2d AvgPool2d AdaptiveAvgPool2d BatchNorm1d BatchNorm2d LayerNorm GroupNorm
    RMSNorm Embedding Dropout Flatten Identity ReLU LeakyReLU ELU GELU SiLU Mish Softplus Sigmoid Tanh
    Softmax LogSoftmax MSELoss L1Loss SmoothL1Loss CrossEntropyLoss NLLLoss BCELoss BCEWithLogitsLoss
""".split()

# Public names that compute nothing from tensors, and where their tests are.
NOT_OPERATIONS = {
    "test_creation.py": """
        arange as_tensor asarray empty empty_like eye from_numpy full full_like linspace new_empty new_full
        new_ones new_zeros ones ones_like tensor zeros zeros_like
    """,
    "test_random.py": """
        bernoulli bernoulli_ exponential_ get_rng_state initial_seed manual_seed multinomial normal normal_
        rand rand_like randint randint_like randn randn_like random_ randperm seed set_rng_state uniform_
    """,
    "test_dtypes.py": """
        bool byte can_cast double dtype element_size float get_default_dtype int is_floating_point is_tensor
        itemsize long promote_types result_type set_default_dtype to type type_as
    """,
    "other topics": """
        allclose as_subclass backward copy_ cpu data data_ptr detach detach_ device dim equal fill_ from_dlpack
        get_num_threads grad grad_fn index_put index_put_ is_anomaly_enabled is_contiguous is_cpu is_cuda
        is_grad_enabled is_inference is_inference_mode_enabled is_leaf item load nbytes ndim ndimension
        nelement numel numpy output_nr register_hook register_post_accumulate_grad_hook requires_grad
        requires_grad_ retain_grad retains_grad save set_flush_denormal set_num_threads set_printoptions shape
        show_config size storage_offset stride tolist zero_
    """,
}
EXEMPT = {name for names in NOT_OPERATIONS.values() for name in names.split()}
OTHER_NAMES = {  # of the same function
    "absolute": "abs",
    "negative": "neg",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "true_divide": "div",
    "clip": "clamp",
    "clamp_min": "clamp",
    "clamp_max": "clamp",
    "arccos": "acos",
    "arcsin": "asin",
    "arctan": "atan",
    "arctan2": "atan2",
    "concat": "cat",
    "concatenate": "cat",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "not_equal": "ne",
    "swapdims": "transpose",
    "fix": "trunc",
}
CONTAINERS = {
    "Module",
    "Parameter",
    "Buffer",
    "Sequential",
    "ModuleList",
    "ModuleDict",
    "ParameterList",
    "ParameterDict",
}


def public(place):
    """Public functions, methods and properties; modules and classes stand for themselves elsewhere."""
    for name in dir(place):
        value = inspect.getattr_static(place, name)
        if (
            not name.startswith("_")
            and (callable(value) or inspect.isdatadescriptor(value))
            and not inspect.isclass(value)
        ):
            yield name


def has_row(name):
    plain = OTHER_NAMES.get(name, name)
    if name.endswith("_") and not name.endswith("__"):
        plain = OTHER_NAMES.get(name[:-1], name[:-1])
        return name in EXEMPT or plain + "_" in INPLACE
    return plain in OPERATIONS or name in EXEMPT


def classes(module, parent):
    return {
        n
        for n, c in vars(module).items()
        if inspect.isclass(c) and issubclass(c, parent) and not n.startswith("_")
    }


@pytest.mark.skipif(NAME == "torch", reason="PyTorch has far more")
@pytest.mark.parametrize("place", ["", "Tensor", "nn.functional"])
def test_everything_public_has_a_row(place):
    where = cr.nn.functional if "." in place else getattr(cr, place, cr)
    assert [name for name in public(where) if not has_row(name)] == []


@pytest.mark.skipif(NAME == "torch", reason="PyTorch has far more")
def test_every_layer_optimizer_and_initialiser_has_a_row():
    layers = {row.name for row in LAYERS}
    assert classes(cr.nn, cr.nn.Module) - layers - CONTAINERS == set()
    assert classes(cr.optim, cr.optim.Optimizer) - {"Optimizer"} == set(OPTIMIZERS)
    schedulers = {
        n for n, c in vars(cr.optim.lr_scheduler).items() if inspect.isclass(c) and hasattr(c, "get_last_lr")
    }
    assert {n for n in schedulers if "Scheduler" not in n} == set(SCHEDULERS)
    initialisers = {n for n in vars(cr.nn.init) if n.endswith("_") and not n.startswith("_")}
    assert initialisers - {"trunc_normal_"} == {*UNIFORM, *NORMAL, *CONSTANT}


def test_everything_promised_is_here():
    assert [name for name in PROMISED if name not in OPERATIONS] == []
    assert [name for name in PROMISED_LAYERS if name not in {row.name for row in LAYERS}] == []
    for row in ROWS:
        assert row.forms(cr)
    for name in [
        *PROMISED_LAYERS,
        "Module",
        "Parameter",
        "Sequential",
        "ModuleList",
        "ModuleDict",
        "ParameterList",
    ]:
        assert hasattr(cr.nn, name), name


def test_other_names_are_the_same_function():
    by_name = {row.name: row for row in reversed(ROWS)}
    for other, name in OTHER_NAMES.items():
        row = by_name[name]
        args, kwargs = row.samples[0].draw(row, row.dtypes[0])
        for place in (cr, cr.Tensor):
            if callable(getattr(place, other, None)) and not other.startswith("clamp_"):
                got = getattr(place, other)(*map_leaves(tensor, args), **kwargs)
                want = getattr(place, name)(*map_leaves(tensor, args), **kwargs)
                np.testing.assert_array_equal(array(got), array(want), err_msg=other)


def test_rows_are_not_repeated():
    labels = [row.label for row in ROWS]
    assert len(labels) == len(set(labels))
