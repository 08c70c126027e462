"""Datasets, samplers and the DataLoader: what they yield, side by side with torch, and worker processes."""

import collections
import gc
import os
import signal
import time

import numpy as np
import pytest

import chainrule as cr
from chainrule.utils import data

Point = collections.namedtuple("Point", "x y")


def value(t):
    return t.detach().numpy()


def plain(batch):
    """Lists and numbers in place of either library's tensors."""
    if hasattr(batch, "tolist"):
        return batch.tolist()
    if isinstance(batch, dict):
        return {key: plain(v) for key, v in batch.items()}
    if isinstance(batch, (list, tuple)):
        return [plain(v) for v in batch]
    return batch


class Squares(data.Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if not 0 <= i < self.n:
            raise IndexError(i)
        return i * i


class Count(data.IterableDataset):
    """0, 1, ..., each worker a part of its own."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        info = data.get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(first, self.n, step))

    def __len__(self):
        return self.n


def tensors(n=10):
    return data.TensorDataset(cr.arange(n * 2, dtype=cr.float32).reshape(n, 2), cr.arange(n))


# Datasets


def test_tensor_dataset():
    dataset = tensors()
    assert len(dataset) == 10
    x, y = dataset[3]
    assert x.tolist() == [6, 7] and y.item() == 3
    assert dataset[-1][1].item() == 9
    with pytest.raises(AssertionError, match="Size mismatch"):
        data.TensorDataset(cr.ones(2), cr.ones(3))


def test_subset_and_concat():
    part = data.Subset(Squares(10), [3, 1])
    assert len(part) == 2 and list(part) == [9, 1] and part.__getitems__([1, 0]) == [1, 9]
    both = part + Squares(3)
    assert isinstance(both, data.ConcatDataset) and len(both) == 5
    assert [both[i] for i in range(5)] == [9, 1, 0, 1, 4] and both[-1] == 4
    with pytest.raises(ValueError, match="should not exceed dataset length"):
        both[-6]
    with pytest.raises(AssertionError, match="empty"):
        data.ConcatDataset([])
    with pytest.raises(AssertionError, match="IterableDataset"):
        data.ConcatDataset([Count(3)])
    chained = Count(2) + Count(3)
    assert list(chained) == [0, 1, 0, 1, 2] and len(chained) == 5
    with pytest.raises(NotImplementedError):
        data.Dataset()[0]
    with pytest.raises(NotImplementedError):
        iter(data.IterableDataset())


def test_random_split(torch):
    for lengths in ([7, 3], [0.5, 0.25, 0.25], [0.33, 0.33, 0.34], [1.0]):
        cr.manual_seed(1)
        ours = data.random_split(Squares(10), lengths)
        torch.manual_seed(1)
        theirs = torch.utils.data.random_split(Squares(10), lengths)
        assert [list(s) for s in ours] == [list(s) for s in theirs]
    a, b = (data.random_split(range(9), [4, 5], cr.Generator().manual_seed(3)) for _ in range(2))
    assert [s.indices for s in a] == [s.indices for s in b]
    with pytest.raises(ValueError, match="does not equal the length"):
        data.random_split(Squares(10), [3, 3])
    with pytest.raises(ValueError, match="index 0 is not between"):
        data.random_split(Squares(10), [1.5, -0.5])


# Samplers


@pytest.mark.parametrize(
    "make",
    [
        lambda d, g: d.SequentialSampler(range(7)),
        lambda d, g: d.RandomSampler(range(7), generator=g),
        lambda d, g: d.RandomSampler(range(7), num_samples=17, generator=g),
        lambda d, g: d.RandomSampler(range(7), replacement=True, num_samples=70, generator=g),
        lambda d, g: d.SubsetRandomSampler([5, 3, 1], generator=g),
        lambda d, g: d.WeightedRandomSampler([0.1, 0.0, 2.0, 1.0], 9, generator=g),
        lambda d, g: d.WeightedRandomSampler([0.1, 0.5, 2.0, 1.0], 3, replacement=False, generator=g),
        lambda d, g: d.BatchSampler(d.RandomSampler(range(7), generator=g), 3, False),
        lambda d, g: d.BatchSampler(d.SequentialSampler(range(7)), 3, True),
    ],
)
@pytest.mark.parametrize("own", [False, True])
def test_samplers_side_by_side_with_torch(make, own, torch):
    def run(library, samplers):
        library.manual_seed(11)
        sampler = make(samplers, library.Generator().manual_seed(5) if own else None)
        return len(sampler), list(sampler), list(sampler), library.randint(1 << 30, (1,)).item()

    assert run(cr, data) == run(torch, torch.utils.data)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: data.RandomSampler([]), ValueError, "positive integer value, but got num_samples=0"),
        (lambda: data.RandomSampler([1], replacement=1), TypeError, "boolean value"),
        (lambda: data.BatchSampler([1], 0, False), ValueError, "batch_size=0"),
        (lambda: data.BatchSampler([1], 2, 1), ValueError, "drop_last should be a boolean"),
        (lambda: data.WeightedRandomSampler([1.0], 0), ValueError, "num_samples=0"),
        (lambda: data.WeightedRandomSampler([[1.0]], 1), ValueError, "1d sequence"),
        (lambda: iter(data.Sampler()), NotImplementedError, "has no __iter__"),
    ],
)
def test_sampler_errors(make, error, says):
    with pytest.raises(error, match=says):
        make()


# DataLoader

SAMPLES = [
    [1, 2, 3],
    [1.5, 2.5],
    [True, False],
    ["a", "b"],
    [(1, 2.0), (3, 4.0)],
    [{"x": 1, "s": "p"}, {"x": 2, "s": "q"}],
    [[1, [2, 3]], [4, [5, 6]]],
    [Point(1, 2.0), Point(3, 4.0)],
    [np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)],
    [np.float32(1.5), np.float32(2.5)],
    [np.int32(3), np.int32(4)],
    [(np.arange(2), "s"), (np.arange(2), "t")],
]


@pytest.mark.parametrize("samples", SAMPLES)
def test_collate_side_by_side_with_torch(samples, torch):
    for ours, theirs in (
        (data.default_collate(samples), torch.utils.data.default_collate(samples)),
        (data.default_convert(samples), torch.utils.data.default_convert(samples)),
    ):
        assert plain(ours) == plain(theirs)
        assert [type(x).__name__ for x in ours] == [type(x).__name__ for x in theirs]
        if hasattr(theirs, "dtype"):
            assert str(ours.dtype).split(".")[-1] == str(theirs.dtype).split(".")[-1]


def test_collate_errors():
    with pytest.raises(TypeError, match="must contain tensors, numpy arrays, numbers, dicts or lists; found"):
        data.default_collate([object()])
    with pytest.raises(TypeError, match="found"):
        data.default_collate([np.array(["text"])])
    with pytest.raises(RuntimeError, match="equal size"):
        data.default_collate([[1, 2], [1]])
    with pytest.raises(RuntimeError):
        data.default_collate([cr.ones(2), cr.ones(3)])


LOADERS = [
    {},
    {"batch_size": 4},
    {"batch_size": 4, "shuffle": True},
    {"batch_size": 4, "shuffle": True, "drop_last": True},
    {"batch_size": None, "shuffle": True},
    {"sampler": [3, 1, 2], "batch_size": 2},
    {"batch_sampler": [[1, 2], [5]]},
]


@pytest.mark.parametrize("options", LOADERS)
@pytest.mark.parametrize("workers", [0, 2])
def test_loader_side_by_side_with_torch(options, workers, torch):
    """The same batches in the same order, and the stream of random numbers at the same place afterwards."""

    def run(library, loaders, workers):
        library.manual_seed(4)
        dataset = loaders.TensorDataset(library.arange(20).reshape(10, 2), library.arange(10))
        loader = loaders.DataLoader(dataset, num_workers=workers, **options)
        first, second = plain(list(loader)), plain(list(loader))
        return len(loader), first, second, library.randint(1 << 30, (1,)).item()

    assert run(cr, data, workers) == run(torch, torch.utils.data, 0)


def test_loader_generator_side_by_side_with_torch(torch):
    def run(library, loaders):
        loader = loaders.DataLoader(
            Squares(10), 3, shuffle=True, generator=library.Generator().manual_seed(8)
        )
        return [plain(batch) for _ in range(3) for batch in loader]

    assert run(cr, data) == run(torch, torch.utils.data)


def test_batches_of_tensors_are_what_single_samples_collate_to():
    class Own(data.TensorDataset):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x + 100, y

    fast = list(data.DataLoader(tensors(), 4))
    slow = [
        data.default_collate([tensors()[i] for i in rows]) for rows in ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9])
    ]
    assert plain(fast) == plain(slow) and all(type(batch) is list for batch in fast)
    assert fast[0][0].dtype == cr.float32 and fast[0][1].dtype == cr.int64
    part = data.Subset(data.Subset(tensors(), [9, 8, 7, 6]), [3, 0])
    assert plain(list(data.DataLoader(part, 2))) == [[[[12, 13], [18, 19]], [6, 9]]]
    assert plain(next(iter(data.DataLoader(Own(*tensors().tensors), 1)))) == [[[100, 101]], [0]]


def test_getitems_and_own_collate():
    class Whole(Squares):
        def __getitems__(self, indices):
            return [-i for i in indices]

    assert plain(list(data.DataLoader(Whole(4), 2))) == [[0, -1], [-2, -3]]
    assert list(data.DataLoader(Squares(4), 3, collate_fn=sum)) == [5, 9]
    assert len(iter(data.DataLoader(Squares(4), 3))) == 2


def test_iterable_dataset():
    assert plain(list(data.DataLoader(Count(5), 2))) == [[0, 1], [2, 3], [4]]
    assert plain(list(data.DataLoader(Count(5), 2, drop_last=True))) == [[0, 1], [2, 3]]
    assert list(data.DataLoader(Count(3), None)) == [0, 1, 2]
    assert len(data.DataLoader(Count(5), 2)) == 3
    assert len(data.DataLoader(Count(5), 2, drop_last=True)) == 2
    assert len(data.DataLoader(Count(5), None)) == 5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_workers": -1}, "num_workers option should be non-negative"),
        ({"timeout": -1}, "timeout option should be non-negative"),
        ({"prefetch_factor": 2}, "prefetch_factor option could only"),
        ({"num_workers": 1, "prefetch_factor": 0}, "prefetch_factor option should be positive"),
        ({"persistent_workers": True}, "persistent_workers option needs"),
        ({"multiprocessing_context": "fork"}, "multiprocessing_context can only"),
        ({"sampler": [1], "shuffle": True}, "mutually exclusive with shuffle"),
        ({"batch_sampler": [[1]], "batch_size": 2}, "mutually exclusive with batch_size"),
        ({"batch_size": None, "drop_last": True}, "disables auto-batching"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 2.0}, "batch_size=2.0"),
    ],
)
def test_loader_errors(options, says):
    with pytest.raises(ValueError, match=says):
        data.DataLoader(Squares(3), **options)


@pytest.mark.parametrize("options", [{"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}])
def test_iterable_loader_errors(options):
    with pytest.raises(ValueError, match="IterableDataset: expected unspecified"):
        data.DataLoader(Count(3), **options)


# Worker processes


class Slow(Squares):
    """The first samples take longest, so that order is not a matter of luck."""

    def __getitem__(self, i):
        time.sleep(0.02 * (i < 4))
        return super().__getitem__(i)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_keep_the_order(workers):
    loader = data.DataLoader(Slow(20), 2, num_workers=workers)
    expected = [[i * i, (i + 1) ** 2] for i in range(0, 20, 2)]
    assert plain(list(loader)) == expected
    assert plain(list(loader)) == expected


def test_workers_with_large_batches_and_indices():
    class Large(data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, i):
            return np.full(300_000, i, np.float32)

    seen = [int(batch[0, 0]) for batch in data.DataLoader(Large(), 2, num_workers=2)]
    assert seen == [0, 2, 4, 6]
    many = data.DataLoader(Squares(200_000), 100_000, num_workers=2, collate_fn=len)
    assert list(many) == [100_000, 100_000]


def test_workers_share_an_iterable_dataset():
    loader = data.DataLoader(Count(11), 2, num_workers=3)
    # Workers 0, 1, 2 have 0 3 6 9, 1 4 7 10 and 2 5 8, in turn.
    assert plain(list(loader)) == [[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8]]
    assert list(data.DataLoader(Count(4), None, num_workers=2)) == [0, 1, 2, 3]


class Fails(Squares):
    def __getitem__(self, i):
        if i == 3:
            raise KeyError("sample three is broken")
        return i


class Picky(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)


class FailsOddly(Squares):
    def __getitem__(self, i):
        if i == 3:
            raise Picky(1, 2)
        if i == 4:

            class Local(Exception):
                pass

            raise Local("nobody can import this")
        return (lambda: i) if i == 5 else i


def test_an_exception_in_a_worker_comes_back_with_its_traceback_and_the_pass_goes_on():
    batches = iter(data.DataLoader(Fails(6), 1, num_workers=2))
    assert [next(batches).item() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError) as caught:
        next(batches)
    text = str(caught.value)
    assert text.startswith("Caught KeyError in DataLoader worker process 1.\nOriginal Traceback")
    assert "in __getitem__" in text and "sample three is broken" in text
    assert [b.item() for b in batches] == [4, 5]


def test_exceptions_and_samples_that_cannot_travel():
    batches = iter(data.DataLoader(FailsOddly(6), None, num_workers=1, collate_fn=lambda x: x))
    assert [next(batches) for _ in range(3)] == [0, 1, 2]
    for says in ("Caught Picky in DataLoader worker", "nobody can import this", "(?i)pickle"):
        with pytest.raises(RuntimeError, match=says):
            next(batches)


def test_worker_init_fn_and_worker_info():
    assert data.get_worker_info() is None

    class Who(Squares):
        def __getitem__(self, i):
            info = data.get_worker_info()
            return [info.id, info.num_workers, info.dataset is self, self.n]

    def init(worker):
        data.get_worker_info().dataset.n = 100 + worker

    seen = plain(list(data.DataLoader(Who(4), None, num_workers=2, worker_init_fn=init)))
    assert seen == [[0, 2, 1, 100], [1, 2, 1, 101], [0, 2, 1, 100], [1, 2, 1, 101]]

    def fail(worker):
        raise ValueError("no luck")

    with pytest.raises(ValueError, match="no luck"):
        list(data.DataLoader(Squares(4), num_workers=1, worker_init_fn=fail))


def random_sample(library):
    import random

    class Random(Squares):
        def __getitem__(self, i):
            return [random.random(), float(np.random.rand()), library.rand(1).item()]

    return Random(6)


def test_worker_seeds_side_by_side_with_torch(torch):
    def run(library, loaders):
        library.manual_seed(9)
        loader = loaders.DataLoader(random_sample(library), 2, num_workers=2)
        return plain(list(loader))

    np.testing.assert_allclose(run(cr, data), run(torch, torch.utils.data), rtol=1e-6)


class Dies(Squares):
    def __getitem__(self, i):
        if i == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return i


def test_a_worker_that_dies_is_reported():
    with pytest.raises(RuntimeError, match=r"worker 0 \(pid \d+\) exited unexpectedly with exit code -9"):
        list(data.DataLoader(Dies(6), 1, num_workers=2))


class Sleeps(Squares):
    def __getitem__(self, i):
        time.sleep(30)


def test_timeout():
    start = time.perf_counter()
    with pytest.raises(RuntimeError, match=r"timed out after 0.2 seconds"):
        next(iter(data.DataLoader(Sleeps(6), 1, num_workers=1, timeout=0.2)))
    assert time.perf_counter() - start < 15


def test_workers_leave_when_the_pass_ends_or_is_forgotten():
    batches = iter(data.DataLoader(Squares(100), 1, num_workers=2))
    processes = batches.workers.processes
    next(batches)
    del batches
    gc.collect()
    assert not any(p.is_alive() for p in processes)
    batches = iter(data.DataLoader(Squares(4), 1, num_workers=2))
    processes = batches.workers.processes
    list(batches)
    assert not any(p.is_alive() for p in processes)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_start_methods(context):
    loader = data.DataLoader(range(6), 2, num_workers=1, multiprocessing_context=context)
    assert plain(list(loader)) == [[0, 1], [2, 3], [4, 5]]


def test_workers_compute_after_the_parent_has_trained():
    class Computes(Squares):
        def __getitem__(self, i):
            x = cr.full((64, 64), float(i), requires_grad=True)
            (x @ x).sum().backward()
            return x.grad.sum().detach()

    x = cr.ones(256, 256, requires_grad=True)
    (x @ x).sum().backward()  # The parent has had its threads by now.
    got = [
        batch.item()
        for batch in data.DataLoader(Computes(4), 1, num_workers=2, multiprocessing_context="fork")
    ]
    assert got == [i * 2 * 64**3 for i in range(4)]
