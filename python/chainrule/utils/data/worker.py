"""Worker processes: each computes the batches it is told to, in the order in which it is told."""

from __future__ import annotations

import os
import pickle
import queue
import random
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from typing import Any

import numpy as np

import chainrule as cr

from . import fetch
from .fetch import Fetcher, WorkerInfo

_LOOK_AROUND_EVERY = 1.0  # seconds
_TIME_TO_LEAVE = 5.0  # seconds


@dataclass
class Failure:
    """An exception on its way from a worker to the main process, with its traceback as text."""

    kind: type[Exception]
    text: str
    worker: int

    def reraise(self) -> None:
        """Raises an exception of the same type, or RuntimeError where that cannot be made of a message."""
        message = (
            f"Caught {self.kind.__name__} in DataLoader worker process {self.worker}.\nOriginal {self.text}"
        )
        try:
            raised = self.kind(_Verbatim(message))
        except Exception:
            raised = RuntimeError(message)
        try:
            raise raised from None
        finally:
            del raised  # Or this frame and the exception would hold each other, and with them the whole pass.


class _Verbatim(str):
    """A message that KeyError, which shows the repr of its argument, shows as it is."""

    def __repr__(self) -> str:
        return str(self)


class _End:
    """An iterable dataset has no more samples in this worker."""


@dataclass
class Plan:
    """What a worker must know before its first task."""

    dataset: Any
    iterable: bool
    batched: bool
    collate_fn: Any
    drop_last: bool
    base_seed: int
    init_fn: Any
    worker: int
    num_workers: int


def run(plan: Plan, tasks: Any, results: connection.Connection, leaving: Any) -> None:
    """The life of a worker process: until it is told None, or to leave, or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle.
    outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    sender = threading.Thread(target=_send_all, args=(outbox, results), daemon=True)
    sender.start()
    fetcher: Fetcher | None = None
    failure: Failure | None = None
    try:
        _settle(plan)
        fetcher = Fetcher(plan.dataset, plan.iterable, plan.batched, plan.collate_fn, plan.drop_last)
    except Exception as error:
        failure = _failure(error, plan.worker)
    while True:
        try:
            task = tasks.get(timeout=_LOOK_AROUND_EVERY)
        except queue.Empty:
            parent = parent_process()
            if leaving.is_set() or parent is None or not parent.is_alive():
                return
            continue
        if task is None or leaving.is_set():
            outbox.put(None)
            sender.join()
            return
        result = failure if failure is not None or fetcher is None else _compute(fetcher, task[0], plan)
        outbox.put(_packed(result, plan.worker))


def _settle(plan: Plan) -> None:
    """One thread, and random numbers of the worker's own, as PyTorch seeds them."""
    cr.set_num_threads(1)
    seed = plan.base_seed + plan.worker
    random.seed(seed)
    cr.manual_seed(seed)
    low, high = plan.base_seed & 0xFFFFFFFF, plan.base_seed >> 32
    np.random.seed(np.random.SeedSequence([plan.worker, low, high, 0]).generate_state(4))
    fetch.worker_info = WorkerInfo(plan.worker, plan.num_workers, seed, plan.dataset)
    if plan.init_fn is not None:
        plan.init_fn(plan.worker)


def _compute(fetcher: Fetcher, index: Any, plan: Plan) -> Any:
    try:
        return fetcher.fetch(index)
    except StopIteration as stop:
        return _End() if plan.iterable else _failure(stop, plan.worker)
    except Exception as error:
        return _failure(error, plan.worker)


def _packed(result: Any, worker: int) -> bytes:
    """The result for the pipe; what cannot be pickled, an exception's type too, becomes a RuntimeError."""
    try:
        return pickle.dumps(result, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        text = result.text if isinstance(result, Failure) else _failure(error, worker).text
        return pickle.dumps(Failure(RuntimeError, text, worker), pickle.HIGHEST_PROTOCOL)


def _failure(error: Exception, worker: int) -> Failure:
    return Failure(type(error), "".join(traceback.format_exception(error)), worker)


def _send_all(outbox: queue.SimpleQueue[bytes | None], results: connection.Connection) -> None:
    """Sends in a thread of its own, so that the next batch is computed while the pipe is full."""
    while (packed := outbox.get()) is not None:
        try:
            results.send_bytes(packed)
        except OSError:
            return  # The main process has gone on without this worker.


class Workers:
    """The worker processes of one pass over a DataLoader, and which batches they owe."""

    def __init__(
        self, plans: list[Plan], context: Any, prefetch: int, timeout: float, indices: Iterator[Any]
    ) -> None:
        context = get_context(context) if context is None or isinstance(context, str) else context
        self.timeout = timeout
        self.indices = indices
        self.owed: deque[int] = deque()  # the worker of each batch, oldest first
        self.active = [True] * len(plans)
        self.turn = 0
        self.tasks: list[Any] = []
        self.results: list[connection.Connection] = []
        self.processes: list[Any] = []
        self.owner = os.getpid()
        self.closed = False
        self.leaving = context.Event()
        try:
            for plan in plans:
                self._start(plan, context)
            for _ in range(prefetch * len(plans)):
                self._order_one()
        except BaseException:
            self.close()
            raise

    def _start(self, plan: Plan, context: Any) -> None:
        tasks = context.Queue()
        tasks.cancel_join_thread()
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=run, args=(plan, tasks, sending, self.leaving), daemon=True)
        process.start()
        sending.close()  # The worker's end alone is left, so its death is the end of the stream.
        self.tasks.append(tasks)
        self.results.append(receiving)
        self.processes.append(process)

    def _order_one(self) -> None:
        """Gives the sampler's next indices to the next worker in turn that has samples."""
        for _ in self.active:
            worker = self.turn
            self.turn = (self.turn + 1) % len(self.active)
            if self.active[worker]:
                break
        else:
            return
        try:
            index = next(self.indices)
        except StopIteration:
            return
        self.tasks[worker].put((index,))
        self.owed.append(worker)

    def next(self) -> Any:
        """The next batch in the sampler's order; StopIteration at the end; raises what the worker raised."""
        while self.owed:
            worker = self.owed.popleft()
            if not self.active[worker]:
                continue
            result = self._receive(worker)
            if isinstance(result, _End):
                self.active[worker] = False
                self._order_one()
                continue
            self._order_one()
            if isinstance(result, Failure):
                result.reraise()
            return result
        self.close()
        raise StopIteration

    def _receive(self, worker: int) -> Any:
        results = self.results[worker]
        if not results.poll(self.timeout if self.timeout > 0 else None):
            self.close(patience=0)
            raise RuntimeError(f"DataLoader timed out after {self.timeout} seconds")
        try:
            return pickle.loads(results.recv_bytes())
        except (EOFError, ConnectionError):
            process = self.processes[worker]
            process.join(_TIME_TO_LEAVE)
            self.close()
            raise RuntimeError(
                f"DataLoader worker {worker} (pid {process.pid}) exited unexpectedly "
                f"with exit code {process.exitcode}"
            ) from None

    def close(self, patience: float = _TIME_TO_LEAVE) -> None:
        """Sends all workers home, and ends those that do not go in time."""
        # A process forked later has a copy of this object, but the workers are not its children.
        if self.closed or os.getpid() != self.owner or sys.is_finalizing():
            return
        self.closed = True
        self.leaving.set()
        for tasks, results in zip(self.tasks, self.results):
            tasks.put(None)
            results.close()
        for process in self.processes:
            process.join(patience)
            if process.is_alive():
                process.terminate()
                process.join()
        for tasks in self.tasks:
            tasks.close()
