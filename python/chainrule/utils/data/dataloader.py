"""DataLoader: batches of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Any, Generic, TypeVar

from ..._core import Generator
from .collate import default_collate, default_convert
from .dataset import Dataset, IterableDataset
from .fetch import Fetcher
from .sampler import BatchSampler, RandomSampler, SequentialSampler, draw_seed

T_co = TypeVar("T_co", covariant=True)


class DataLoader(Generic[T_co]):
    """Iterates over a dataset in batches, each time anew.

    batch_size: samples in a batch; None for samples without batch. shuffle: random order. sampler,
    batch_sampler: an order of one's own, in place of both. drop_last: without a last batch that is shorter.
    collate_fn: makes a batch of a list of samples. generator: what the shuffling draws from.
    num_workers: processes that prepare batches ahead, ``prefetch_factor`` each; 0 for none. The order is the
    same for any number. worker_init_fn: called in each with its number. timeout: seconds to wait for a batch.

    Raises ValueError when options exclude each other or are out of range. An exception in a worker process is
    raised again in the main process with the worker's traceback. ``pin_memory`` and ``persistent_workers``
    change nothing.
    """

    def __init__(
        self,
        dataset: Dataset[T_co],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers, multiprocessing_context)
        self._iterable = isinstance(dataset, IterableDataset)
        if self._iterable:
            for name, given in (
                ("shuffle", shuffle or None),
                ("sampler", sampler),
                ("batch_sampler", batch_sampler),
            ):
                if given is not None:
                    raise ValueError(
                        f"DataLoader with IterableDataset: expected unspecified {name} option, "
                        f"but got {name}={given}"
                    )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, "
                    "and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
            )
        if sampler is None:
            sampler = self._default_sampler(dataset, bool(shuffle), generator)
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset = dataset
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.generator = generator
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers > 0 and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        batched = batch_sampler is not None
        self.collate_fn = collate_fn or (default_collate if batched else default_convert)

    def _default_sampler(self, dataset: Any, shuffle: bool, generator: Generator | None) -> Iterable[Any]:
        if self._iterable:
            # An iterable dataset knows its own order and end: the sampler only asks for more.
            return repeat(None)
        return RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)

    @property
    def _index_sampler(self) -> Iterable[Any]:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def __iter__(self) -> Iterator[Any]:
        return _WorkerPass(self) if self.num_workers > 0 else _Pass(self)

    def __len__(self) -> int:
        if not self._iterable:
            return len(self._index_sampler)  # type: ignore[arg-type]  # a sampler without length makes this without
        size = len(self.dataset)  # type: ignore[arg-type]  # TypeError for a dataset without length is right
        if self.batch_size is None:
            return size
        return size // self.batch_size if self.drop_last else -(-size // self.batch_size)


def _check_workers(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool, context: Any
) -> None:
    if num_workers < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable multiprocessing."
        )
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if prefetch_factor is not None and num_workers == 0:
        raise ValueError("prefetch_factor option could only be specified with num_workers > 0")
    if prefetch_factor is not None and prefetch_factor < 1:
        raise ValueError(f"prefetch_factor option should be positive, got {prefetch_factor}")
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")
    if context is not None and num_workers == 0:
        raise ValueError("multiprocessing_context can only be used with num_workers > 0")


class _Pass(Iterator[Any]):
    """One pass in this process."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.length = loader._index_sampler
        self.indices = iter(loader._index_sampler)
        # Drawn though only workers need it: the stream of random numbers is the same with and without them.
        draw_seed(loader.generator)
        batched = loader.batch_sampler is not None
        self.fetcher = Fetcher(loader.dataset, loader._iterable, batched, loader.collate_fn, loader.drop_last)

    def __next__(self) -> Any:
        return self.fetcher.fetch(next(self.indices))

    def __len__(self) -> int:
        return len(self.length)  # type: ignore[arg-type]  # TypeError for a sampler without length is right


class _WorkerPass(Iterator[Any]):
    """One pass with worker processes."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        from .worker import Plan, Workers  # here, since multiprocessing would double the time of importing

        self.length = loader._index_sampler
        indices = iter(loader._index_sampler)
        base_seed = draw_seed(loader.generator)
        plans = [
            Plan(
                loader.dataset,
                loader._iterable,
                loader.batch_sampler is not None,
                loader.collate_fn,
                loader.drop_last,
                base_seed,
                loader.worker_init_fn,
                worker,
                loader.num_workers,
            )
            for worker in range(loader.num_workers)
        ]
        prefetch = loader.prefetch_factor or 2
        self.workers = Workers(plans, loader.multiprocessing_context, prefetch, loader.timeout, indices)

    def __next__(self) -> Any:
        return self.workers.next()

    def __len__(self) -> int:
        return len(self.length)  # type: ignore[arg-type]  # TypeError for a sampler without length is right

    def __del__(self) -> None:
        workers = self.__dict__.get("workers")
        if workers is not None:
            workers.close()
