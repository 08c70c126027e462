"""What turns indices into batches, in the main process as in workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .collate import fetch_batch


@dataclass
class WorkerInfo:
    """Who a worker process is: its number, of how many, the seed it was given, its copy of the dataset."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


worker_info: WorkerInfo | None = None  # set in worker processes


def get_worker_info() -> WorkerInfo | None:
    """In a worker process what it is; None in the main process."""
    return worker_info


class Fetcher:
    """Turns what the sampler gave, for an iterable dataset a mere request for the next, into a batch."""

    def __init__(self, dataset: Any, iterable: bool, batched: bool, collate_fn: Any, drop_last: bool) -> None:
        self.dataset = dataset
        self.stream: Iterator[Any] | None = iter(dataset) if iterable else None
        self.batched = batched
        self.collate_fn = collate_fn
        self.drop_last = drop_last

    def fetch(self, index: Any) -> Any:
        """The batch; StopIteration at an iterable dataset's end."""
        if self.stream is not None:
            return self._next(self.stream, index)
        if self.batched:
            return fetch_batch(self.dataset, index, self.collate_fn)
        return self.collate_fn(self.dataset[index])

    def _next(self, stream: Iterator[Any], index: Any) -> Any:
        if not self.batched:
            return self.collate_fn(next(stream))
        samples = [sample for _, sample in zip(index, stream)]
        if not samples or (self.drop_last and len(samples) < len(index)):
            raise StopIteration
        return self.collate_fn(samples)
