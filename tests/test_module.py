"""What Module promises: names and walks, attributes, state, modes, hooks, copies and containers."""

import copy
import gc
import pickle
import re
import weakref
from collections import OrderedDict

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from test_nn_modules import numbers, state, value


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.last = nn.Linear(4, 2, bias=False)
        self.scale = nn.Parameter(cr.ones(1))
        self.register_buffer("count", cr.zeros(1))
        self.register_buffer("scratch", cr.zeros(1), persistent=False)

    def forward(self, x):
        return self.last(self.norm(self.first(x)).relu()) * self.scale


STATE = [
    "scale", "count", "first.weight", "first.bias", "norm.weight", "norm.bias", "norm.running_mean",
    "norm.running_var", "norm.num_batches_tracked", "last.weight",
]  # fmt: skip


def test_names_and_walks():
    net = Net()
    assert list(net.state_dict()) == STATE
    assert [n for n, _ in net.named_parameters()] == [
        "scale", "first.weight", "first.bias", "norm.weight", "norm.bias", "last.weight",
    ]  # fmt: skip
    assert [n for n, _ in net.named_parameters(recurse=False)] == ["scale"]
    assert [n for n, _ in net.named_parameters(prefix="net", recurse=False)] == ["net.scale"]
    assert [n for n, _ in net.named_buffers()][:2] == ["count", "scratch"]
    assert [n for n, _ in net.named_modules()] == ["", "first", "norm", "last"]
    assert [n for n, _ in net.named_children()] == ["first", "norm", "last"]
    assert list(net.children()) == [net.first, net.norm, net.last]
    assert next(iter(net.modules())) is net
    assert net.get_submodule("") is net and net.get_submodule("norm") is net.norm
    assert net.get_parameter("first.bias") is net.first.bias
    assert net.get_buffer("norm.running_var") is net.norm.running_var
    for get, name in (
        (net.get_parameter, "first.no"),
        (net.get_submodule, "x.y"),
        (net.get_buffer, "first.bias"),
    ):
        with pytest.raises(AttributeError):
            get(name)
    assert {"first", "scale", "count", "training"} <= set(dir(net))


def test_shared_parts_are_visited_once_but_saved_under_each_name():
    shared = nn.Linear(2, 2, bias=False)
    net = nn.Sequential(shared, nn.ReLU(), shared)
    assert len(list(net.parameters())) == 1
    assert len(list(net.modules())) == 3
    assert len(list(net.named_parameters(remove_duplicate=False))) == 2
    assert list(net.state_dict()) == ["0.weight", "2.weight"]


def test_repr_nests():
    net = nn.Sequential(OrderedDict(a=nn.Linear(2, 3), b=nn.Sequential(nn.ReLU())))
    assert repr(net) == (
        "Sequential(\n  (a): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (b): Sequential(\n    (0): ReLU()\n  )\n)"
    )
    blocks = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh()])
    assert repr(blocks) == "ModuleList(\n  (0-1): 2 x ReLU()\n  (2): Tanh()\n)"


def test_repr_of_containers_side_by_side_with_torch(torch):
    def make(lib):
        n = lib.nn
        return n.ModuleDict(
            {
                "list": n.ModuleList([n.Sequential(n.Linear(2, 2), n.ReLU(inplace=True)) for _ in range(3)]),
                "empty": n.ModuleList(),
                "conv": n.Conv2d(1, 2, 3, padding_mode="reflect", padding=1, groups=1, dilation=2),
                "same": n.Conv2d(1, 2, 3, padding="same", bias=False),
                "acts": n.Sequential(n.LeakyReLU(0.1, True), n.ELU(inplace=True), n.Softmax(), n.Softplus()),
            }
        )

    class Own(nn.Module):
        def extra_repr(self):
            return "two\nlines"

    assert repr(make(cr)) == repr(make(torch))
    assert repr(Own()) == "Own(\n  two\n  lines\n)"


def test_set_and_delete_attributes():
    net = nn.Module()
    net.w = nn.Parameter(cr.ones(2))
    with pytest.raises(
        TypeError, match=r"cannot assign '.*Tensor' as parameter 'w' .*Parameter or None expected"
    ):
        net.w = cr.ones(2)
    net.w = None
    assert net.w is None and list(net.parameters()) == []
    net.w = nn.Parameter(cr.zeros(1))
    net.child = nn.ReLU()
    with pytest.raises(TypeError, match="cannot assign 'int' as child module 'child'"):
        net.child = 3
    net.register_buffer("b", cr.ones(1))
    with pytest.raises(TypeError, match="cannot assign 'str' as buffer 'b'"):
        net.b = "no"
    net.b = cr.zeros(3)
    assert list(net.state_dict()) == ["w", "b"]
    net.child = nn.Parameter(cr.ones(1))  # another kind takes the name over
    assert [n for n, _ in net.named_parameters()] == ["w", "child"] and list(net.children()) == []
    net.plain = 3
    net.plain = nn.ReLU()
    assert "plain" not in net.__dict__ and list(net.children()) == [net.plain]
    for name in ("w", "b", "child", "plain"):
        delattr(net, name)
        with pytest.raises(AttributeError, match=f"'Module' object has no attribute '{name}'"):
            getattr(net, name)
    with pytest.raises(AttributeError):
        del net.w


def test_nothing_can_be_assigned_before_init():
    class Early(nn.Module):
        def __init__(self, thing):
            self.thing = thing

    for thing, says in (
        (nn.Parameter(cr.ones(1)), "cannot assign parameters before"),
        (nn.ReLU(), "cannot assign module before"),
    ):
        with pytest.raises(AttributeError, match=says):
            Early(thing)


def test_register_errors():
    net = Net()
    net.own = 1
    for register, bad in (
        (net.register_parameter, cr.ones(1)),
        (net.register_buffer, 3),
        (net.add_module, 3),
    ):
        with pytest.raises(TypeError):
            register("new", bad)
        with pytest.raises(TypeError, match="name should be a string"):
            register(3, None)
        with pytest.raises(KeyError, match="already exists"):
            register("own", None)
        with pytest.raises(KeyError, match=r"can.*t contain"):
            register("a.b", None)
        with pytest.raises(KeyError, match=r"can.*t be empty"):
            register("", None)
    with pytest.raises(ValueError, match="non-leaf"):
        net.register_parameter("new", _non_leaf())


def _non_leaf():
    p = nn.Parameter(cr.ones(1))
    with cr.no_grad():
        q = nn.Parameter(cr.ones(1), requires_grad=False)
    q.mul_(p)
    return q


def test_load_state_dict_round_trip_and_result():
    a, b = Net(), Net()
    result = b.load_state_dict(a.state_dict())
    assert repr(result) == "<All keys matched successfully>"
    for name, array in state(a).items():
        np.testing.assert_array_equal(state(b)[name], array)
    loose = {**a.state_dict(), "other": cr.ones(1)}
    del loose["scale"]
    result = b.load_state_dict(loose, strict=False)
    assert result.missing_keys == ["scale"] and result.unexpected_keys == ["other"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda s: s.pop("last.weight"), 'Missing key(s) in state_dict: "last.weight". '),
        (lambda s: s.update(extra=cr.ones(1)), 'Unexpected key(s) in state_dict: "extra". '),
        (lambda s: s.update({"last.weight": cr.ones(5, 5)}), "size mismatch for last.weight"),
        (lambda s: s.update({"last.weight": np.ones((2, 4))}), 'parameter named "last.weight"'),
    ],
)
def test_load_state_dict_changes_nothing_when_it_fails(spoil, says):
    net = Net()
    before = {name: array.copy() for name, array in state(net).items()}
    wrong = OrderedDict((name, t + 1) for name, t in net.state_dict().items())
    spoil(wrong)
    with pytest.raises(RuntimeError, match=re.escape(says)) as caught:
        net.load_state_dict(wrong)
    assert str(caught.value).startswith("Error(s) in loading state_dict for Net:\n\t")
    for name, array in state(net).items():
        np.testing.assert_array_equal(array, before[name])
    with pytest.raises(TypeError, match="dict-like"):
        net.load_state_dict([1])


def test_load_state_dict_keeps_or_assigns_the_parameters():
    net = Net()
    weight = net.first.weight
    other = Net().double().state_dict()
    net.load_state_dict(other)
    assert net.first.weight is weight and weight.dtype == cr.float32
    net.load_state_dict(other, assign=True)
    assert net.first.weight is not weight and net.first.weight.dtype == cr.float64
    assert isinstance(net.first.weight, nn.Parameter) and net.first.weight.requires_grad


def test_state_dict_shares_memory_and_forgets_the_graph():
    net = Net()
    saved = net.state_dict()
    assert not saved["scale"].requires_grad
    with cr.no_grad():
        net.scale.fill_(5.0)
    assert saved["scale"].item() == 5
    assert net.state_dict(keep_vars=True)["scale"] is net.scale
    assert list(net.first.state_dict(prefix="p.")) == ["p.weight", "p.bias"]


def test_train_eval_apply_requires_grad_zero_grad():
    net = Net()
    assert net.eval() is net and not any(m.training for m in net.modules())
    assert net.train() is net and all(m.training for m in net.modules())
    with pytest.raises(ValueError, match="boolean"):
        net.train("yes")
    seen = []
    assert net.apply(seen.append) is net
    assert seen == [net.first, net.norm, net.last, net]
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.requires_grad_()
    net(cr.ones(4, 3)).sum().backward()
    assert net.scale.grad is not None
    net.zero_grad(set_to_none=False)
    assert net.scale.grad.item() == 0
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_to_changes_floating_tensors_in_place():
    net = Net()
    net(cr.ones(4, 3)).sum().backward()
    scale = net.scale
    assert net.double() is net
    assert net.scale is scale and scale.dtype == cr.float64 and scale.grad.dtype == cr.float64
    assert net.norm.running_mean.dtype == cr.float64
    assert net.norm.num_batches_tracked.dtype == cr.int64
    assert net(cr.ones(4, 3, dtype=cr.float64)).dtype == cr.float64
    assert net.to(cr.float32).scale.dtype == cr.float32
    assert net.to("cpu", cr.float64).scale.dtype == cr.float64
    assert net.to(cr.ones(1)).scale.dtype == cr.float32
    assert net.to(dtype=cr.float64).float().cpu().scale.dtype == cr.float32
    assert net.to(device="cpu") is net


def test_to_refuses_what_it_cannot_do():
    net = Net()
    with pytest.raises(RuntimeError, match="expected device 'cpu', got 'cuda'"):
        net.to("cuda")
    with pytest.raises(TypeError, match="only accepts floating point"):
        net.to(cr.int64)
    with pytest.raises(TypeError, match="unexpected keyword argument 'where'"):
        net.to(where="cpu")


# Hooks


def test_forward_hooks_see_and_replace():
    layer = nn.Linear(2, 2)
    calls = []
    pre = layer.register_forward_pre_hook(lambda m, args: (calls.append("pre"), (args[0] * 0,))[1])
    post = layer.register_forward_hook(lambda m, args, out: (calls.append("post"), out + 1)[1])
    y = layer(cr.ones(1, 2))
    np.testing.assert_allclose(value(y)[0], value(layer.bias) + 1, rtol=1e-6)
    assert calls == ["pre", "post"]
    pre.remove()
    with post:
        layer(cr.ones(1, 2))
    layer(cr.ones(1, 2))
    assert calls == ["pre", "post", "post"]


def test_forward_hooks_with_kwargs_order_and_failure():
    class Plus(nn.Module):
        def forward(self, x, *, by):
            return x + by

    layer = Plus()
    calls = []
    layer.register_forward_pre_hook(lambda m, a, k: (a, {"by": k["by"] + 1}), with_kwargs=True)
    layer.register_forward_hook(lambda m, a, k, y: calls.append(k["by"]), with_kwargs=True)
    layer.register_forward_hook(lambda m, a, y: calls.append("first"), prepend=True)
    layer.register_forward_hook(lambda m, a, y: calls.append("always"), always_call=True)
    assert layer(cr.ones(1), by=2).item() == 4
    assert calls == ["first", 3, "always"]
    calls.clear()
    with pytest.raises(TypeError):
        layer(None, by=2)
    assert calls == ["always"]
    layer.register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True)
    with pytest.raises(RuntimeError, match="forward pre-hook must return"):
        layer(cr.ones(1), by=2)


def test_full_backward_hook_sees_and_replaces_gradients():
    layer = nn.Linear(2, 1, bias=False)
    seen = []

    def hook(module, grad_input, grad_output):
        seen.append((module, value(grad_input[0]).copy(), value(grad_output[0]).copy()))
        return (grad_input[0] * 10,)

    handle = layer.register_full_backward_hook(hook)
    x = cr.ones(1, 2, requires_grad=True)
    (layer(x) * 3).sum().backward()
    weight = value(layer.weight)
    assert seen[0][0] is layer
    np.testing.assert_allclose(seen[0][1], 3 * weight, rtol=1e-6)
    np.testing.assert_array_equal(seen[0][2], [[3.0]])
    np.testing.assert_allclose(value(x.grad), 30 * weight, rtol=1e-6)
    np.testing.assert_array_equal(value(layer.weight.grad), [[3.0, 3.0]])
    handle.remove()
    (layer(x) * 3).sum().backward()
    assert len(seen) == 1


def test_full_backward_pre_hook_and_input_without_gradient():
    layer = nn.Linear(2, 1, bias=False)
    seen = []
    layer.register_full_backward_pre_hook(lambda m, g: (g[0] * 2,))
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, value(go[0]).copy())))
    layer(cr.ones(1, 2)).sum().backward()
    assert seen[0][0] == (None,)
    np.testing.assert_array_equal(seen[0][1], [[2.0]])
    np.testing.assert_array_equal(value(layer.weight.grad), [[2.0, 2.0]])
    layer.register_full_backward_hook(lambda m, gi, go: (go[0],))
    with pytest.raises(RuntimeError, match="no input requires gradient"):
        layer(cr.ones(1, 2)).sum().backward()


def test_full_backward_hook_with_several_inputs_and_outputs():
    class Two(nn.Module):
        def forward(self, a, scale, b):
            return a * scale, b * scale

    layer = Two()
    seen = []
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
    a, b = cr.ones(2, requires_grad=True), cr.ones(2, requires_grad=True)
    p, q = layer(a, 3, b)
    (p + 2 * q).sum().backward()
    (ga, none, gb), (gp, gq) = seen[0]
    assert none is None
    for g, expected in ((ga, 3), (gb, 6), (gp, 1), (gq, 2)):
        np.testing.assert_array_equal(value(g), [expected] * 2)
    np.testing.assert_array_equal(value(b.grad), [6, 6])
    p, q = layer(a, 3, b)
    p.sum().backward()
    (ga, _, gb), (gp, gq) = seen[1]
    assert gb is None and gq is None and value(ga).tolist() == [3, 3] and value(gp).tolist() == [1, 1]


def test_full_backward_hook_beside_writing_in_place():
    layer = nn.ReLU(inplace=True)
    seen = []
    layer.register_full_backward_hook(
        lambda m, gi, go: seen.append((value(gi[0]).copy(), value(go[0]).copy()))
    )
    x = cr.tensor([-1.0, 2.0], requires_grad=True)
    y = layer(x * 2)
    y.mul_(3)
    y.sum().backward()
    assert [g.tolist() for g in seen[0]] == [[0, 3], [3, 3]]
    assert value(x.grad).tolist() == [0, 6]


# Copies, pickles, memory


def test_copies_and_pickles_are_independent():
    net = Net()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert list(twin.state_dict()) == STATE
        assert type(twin.scale) is nn.Parameter and twin.scale.requires_grad
        with cr.no_grad():
            twin.scale.fill_(9.0)
        assert net.scale.item() == 1
        x = numbers((4, 3))
        np.testing.assert_allclose(
            value(twin(cr.tensor(x))), 9 * value(net(cr.tensor(x))), rtol=1e-5, atol=1e-6
        )
    tied = nn.Sequential(net.first, net.first)
    twin = copy.deepcopy(tied)
    assert twin[0] is twin[1] and twin[0].weight is not net.first.weight


def test_a_module_dies_with_its_last_reference():
    net = Net()
    net(cr.ones(4, 3)).sum().backward()
    gone = weakref.ref(net.first)
    gc.disable()
    try:
        del net
        assert gone() is None
    finally:
        gc.enable()


def test_parameter():
    data = cr.ones(2)
    p = nn.Parameter(data)
    assert isinstance(p, cr.Tensor) and p.requires_grad and p.is_leaf and p.grad_fn is None
    assert repr(p) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"
    with cr.no_grad():
        p.fill_(3.0)
    assert data[0].item() == 3  # the memory is shared
    assert not nn.Parameter(data, requires_grad=False).requires_grad
    assert nn.Parameter().numel() == 0
    assert type(p * 2) is cr.Tensor
    (p * 2).sum().backward()
    assert p.grad is p.grad


# Containers


def test_sequential_is_a_list_and_a_function():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    net = nn.Sequential(a, b, c)
    assert len(net) == 3 and list(net) == [a, b, c] and net[-1] is c
    assert isinstance(net[1:], nn.Sequential) and list(net[1:]) == [b, c]
    net[0] = c
    del net[1]
    assert list(net) == [c, c] and list(net.state_dict()) == []
    assert list(net.append(a)) == [c, c, a]
    assert list(net.extend([b])) == [c, c, a, b]
    assert list(net.insert(0, b)) == [b, c, c, a, b]
    assert net.pop(-1) is b and len(net) == 4
    assert list(nn.Sequential(a) + nn.Sequential(b)) == [a, b]
    assert list(nn.Sequential(a) * 2) == [a, a] == list(2 * nn.Sequential(a))
    named = nn.Sequential(OrderedDict(x=a, y=b))
    assert named.x is a and [n for n, _ in named.named_children()] == ["x", "y"]
    assert list(nn.Sequential()(cr.ones(2)).shape) == [2]


def test_module_list_and_dict():
    layers = nn.ModuleList([nn.Linear(1, 1)])
    layers += [nn.ReLU()]
    layers.insert(0, nn.Tanh())
    assert [type(m).__name__ for m in layers] == ["Tanh", "Linear", "ReLU"]
    assert list(layers.state_dict()) == ["1.weight", "1.bias"]
    del layers[0]
    assert list(layers.state_dict()) == ["0.weight", "0.bias"]
    assert isinstance(layers[:1], nn.ModuleList) and len(layers[:1]) == 1
    assert len(layers + layers) == 4
    chosen = nn.ModuleDict({"b": nn.ReLU(), "a": nn.Tanh()})
    chosen["c"] = nn.Linear(1, 1)
    assert list(chosen) == ["b", "a", "c"] == list(chosen.keys()) and "a" in chosen and len(chosen) == 3
    assert isinstance(chosen.pop("a"), nn.Tanh) and [k for k, _ in chosen.items()] == ["b", "c"]
    chosen.update([("d", nn.ReLU())])
    assert len(list(chosen.values())) == 3
    chosen.clear()
    assert len(chosen) == 0


def test_parameter_list(torch):
    def make(lib):
        return lib.nn.ParameterList([lib.ones(2, 3), lib.nn.Parameter(lib.ones(1)), "text"])

    ours, theirs = make(cr), make(torch)
    assert repr(ours).replace("chainrule.", "torch.") == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["0", "1"]
    assert len(list(ours.parameters())) == 2 and ours[2] == "text" and len(ours) == 3
    ours.append(cr.zeros(1))
    assert isinstance(ours[-1], nn.Parameter)
    assert len(ours[1:]) == 3
    assert ours.pop(0).shape == (2, 3) and len(ours) == 3 and list(ours.state_dict()) == ["0", "2"]
    ours[0] = cr.ones(7)
    assert isinstance(ours[0], nn.Parameter) and len(list(ours)) == 3
