"""How samples become a batch."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

import chainrule as cr

from ..._core import Tensor
from .dataset import Subset, TensorDataset

_NOT_KNOWN = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"


def default_collate(batch: Sequence[Any]) -> Any:
    """Stacks tensors and arrays, makes tensors of numbers, leaves strings, and goes into containers.

    A batch of tuples becomes a list, one of dictionaries a dictionary, each with collated members. Raises
    TypeError for any other kind of sample and RuntimeError when the samples' sequences differ in length.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return cr.stack(list(batch), 0)
    if isinstance(first, np.ndarray):
        if first.dtype.kind not in "biuf":
            raise TypeError(_NOT_KNOWN.format(first.dtype))
        return cr.stack([cr.as_tensor(array) for array in batch], 0)
    if isinstance(first, (np.bool_, np.number)):
        return cr.as_tensor(np.asarray(batch))
    if isinstance(first, float):
        return cr.tensor(batch, dtype=cr.float64)
    if isinstance(first, int):
        return cr.tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _like_mapping(
            first, {key: default_collate([sample[key] for sample in batch]) for key in first}
        )
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        members = [default_collate(samples) for samples in zip(*batch)]
        if hasattr(first, "_fields"):
            return type(first)(*members)
        return members if isinstance(first, tuple) else _like_sequence(first, members)
    raise TypeError(_NOT_KNOWN.format(type(first)))


def default_convert(data: Any) -> Any:
    """Makes tensors of the arrays in a sample, for a DataLoader without batches."""
    if isinstance(data, (Tensor, str, bytes)):
        return data
    if isinstance(data, (np.ndarray, np.bool_, np.number)):
        kind = np.asarray(data).dtype.kind
        return cr.as_tensor(np.asarray(data)) if kind in "biuf" else data
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple):
        members = [default_convert(value) for value in data]
        return type(data)(*members) if hasattr(data, "_fields") else members
    if isinstance(data, Sequence):
        return _like_sequence(data, [default_convert(value) for value in data])
    return data


def _like_mapping(sample: Mapping[Any, Any], values: dict[Any, Any]) -> Any:
    """The values in a mapping of the sample's own type, where it lets itself be made."""
    try:
        if isinstance(sample, MutableMapping):
            made = copy.copy(sample)
            made.update(values)
            return made
        return type(sample)(values)  # type: ignore[call-arg]  # tried, see below
    except TypeError:
        return values


def _like_sequence(sample: Sequence[Any], values: list[Any]) -> Any:
    """The values in a sequence of the sample's own type, where it lets itself be made."""
    try:
        if isinstance(sample, MutableSequence):
            made = copy.copy(sample)
            for i, value in enumerate(values):
                made[i] = value
            return made
        return type(sample)(values)  # type: ignore[call-arg]  # tried, see below
    except TypeError:
        return values


def fetch_batch(dataset: Any, indices: Any, collate_fn: Any) -> Any:
    """The collated samples of these indices."""
    if collate_fn is default_collate:
        rows = _tensor_rows(dataset, indices)
        if rows is not None:
            return rows
    whole = getattr(dataset, "__getitems__", None)
    return collate_fn(whole(indices) if whole is not None else [dataset[i] for i in indices])


def _tensor_rows(dataset: Any, indices: Any) -> list[Tensor] | None:
    """What collating samples of tensors comes to, in one gathering each; None for other datasets.

    Exactly these types, as a subclass may have an idea of its own what a sample is.
    """
    if type(dataset) is Subset:
        chosen = dataset.indices
        return _tensor_rows(dataset.dataset, [chosen[i] for i in indices])
    if type(dataset) is TensorDataset:
        rows = cr.as_tensor(indices, dtype=cr.int64)
        return [tensor[rows] for tensor in dataset.tensors]
    return None
