"""Values with many tensors, sent from one process to another as one tensor."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

ALIGNED = 16
"""Bytes at which a tensor begins."""


class _Place(NamedTuple):
    """Where a tensor is among the bytes of all."""

    start: int
    end: int
    dtype: torch.dtype
    shape: Sequence[int]


@dataclass(frozen=True)
class Sent:
    """A value whose tensors lie in one tensor.

    PyTorch opens a file for each tensor that a DataLoader's worker sends: hundreds for a micro-batch in chunks, and a
    process may have 1,024. A copy into pinned memory is one as well.

    Attributes:
        rest: the value without its tensors, as bytes of pickle.
        tensors: their bytes, uint8.
    """

    rest: bytes
    tensors: Tensor

    @classmethod
    def of(cls, value: Any) -> Sent:
        """Pack a value; its tensors are copied."""
        parts: list[Tensor] = []
        end = 0

        class Pickler(pickle.Pickler):
            def persistent_id(self, obj: Any) -> _Place | None:
                nonlocal end
                if not isinstance(obj, Tensor):
                    return None
                start, flat = end, obj.detach().contiguous().view(-1).view(torch.uint8)
                gap = -len(flat) % ALIGNED
                parts.extend([flat, flat.new_zeros(gap)])
                end += len(flat) + gap
                return _Place(start, start + len(flat), obj.dtype, tuple(obj.shape))

        rest = io.BytesIO()
        Pickler(rest).dump(value)
        return cls(rest.getvalue(), torch.cat(parts) if parts else torch.empty(0, dtype=torch.uint8))

    def opened(self) -> Any:
        """The value; its tensors share the memory of :attr:`tensors`."""
        tensors = self.tensors

        class Unpickler(pickle.Unpickler):
            def persistent_load(self, pid: Any) -> Tensor:
                place: _Place = pid
                return tensors[place.start : place.end].view(place.dtype).view(tuple(place.shape))

        return Unpickler(io.BytesIO(self.rest)).load()

    def to(self, device: torch.device, non_blocking: bool = False) -> Sent:
        """The same on another device, in one copy; ``non_blocking`` as in ``Tensor.to``."""
        return Sent(self.rest, self.tensors.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Sent:
        """The same in memory that a GPU copies from by itself; PyTorch's DataLoader asks for it."""
        return Sent(self.rest, self.tensors.pin_memory())
