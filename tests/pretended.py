"""A device that is not there: it computes on the CPU and notes where a program waits for it.

A GPU works behind the program that commands it. The program waits where it reads a number, where a result's size
depends on numbers, and where memory that is not pinned is copied. ``pretended`` is a device of PyTorch whose tensors
are CPU tensors inside; what happens to them is computed there and noted. The name is registered with PyTorch for the
whole process, so use it in a process of its own.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretended"
READS = {
    "aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero", "aten::masked_select",
    "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive", "aten::bincount", "aten::nonzero_static",
}  # fmt: skip
"""Operators for which CUDA waits: they return numbers to the program, or as many values as numbers say."""
INDEXED = {
    "aten::index",
    "aten::index_put_",
    "aten::index_put",
    "aten::_index_put_impl_",
    "aten::_unsafe_index",
}
COPIES = {"aten::_to_copy", "aten::copy_"}
ROOT = Path(__file__).resolve().parent.parent


class Pretended(Tensor):
    """A tensor of the device, with what it holds on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Pretended:
        """Wrap a CPU tensor."""
        made = Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device=torch.device(NAME, 0),
        )  # fmt: skip
        made.held = held
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What comes back from the CPU stays a plain tensor."""
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Without a :class:`Device` around it, nothing is noted."""
        return _computed(func, args, kwargs or {})

    def tolist(self) -> Any:
        """PyTorch refuses it to classes like this one; on a GPU it is a copy to the CPU."""
        return self.cpu().tolist()


class Device(TorchDispatchMode):
    """Notes what makes a program wait, as ``operator at file:line`` of the nearest line of this package.

    Attributes:
        waits: reads of numbers, sizes that depend on numbers, copies to the CPU.
        uploads: copies to the device that block, because they were not asked to go on behind.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waits: list[str] = []
        self.uploads: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note it, then compute it."""
        kwargs = kwargs or {}
        name = func._schema.name
        if name in READS | INDEXED | COPIES or name == "aten::repeat_interleave":
            self._note(name, args, kwargs)
        return _computed(func, args, kwargs)

    def _note(self, name: str, args: Any, kwargs: Any) -> None:
        here = [isinstance(each, Pretended) for each in tree_leaves((args, kwargs))]
        if name in COPIES:
            source = args[1] if name == "aten::copy_" else args[0]
            target = (
                args[0].device
                if name == "aten::copy_"
                else torch.device(kwargs.get("device") or source.device)
            )
            behind = kwargs.get("non_blocking") or (name == "aten::copy_" and len(args) > 2 and args[2])
            if source.device.type == target.type or behind:
                return
            found = self.waits if isinstance(source, Pretended) else self.uploads
        elif not any(here):
            return
        elif name in INDEXED:
            indices = [index for index in args[1] if index is not None]
            if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                found = self.waits
            elif any(not isinstance(index, Pretended) for index in indices):
                found = self.uploads
            else:
                return
        elif name == "aten::repeat_interleave" and kwargs.get("output_size") is not None:
            return
        else:
            found = self.waits
        found.append(f"{name.removeprefix('aten::')} at {_place()}")


def _place() -> str:
    """The nearest line of the package; of a library where there is none."""
    frames = [
        frame for frame in traceback.extract_stack() if not frame.filename.startswith(str(ROOT / "tests"))
    ]
    ours = [frame for frame in frames if frame.filename.startswith(str(ROOT / "colbert_lab"))]
    near = (ours or frames)[-1]
    library = [
        frame for frame in frames if "site-packages" in frame.filename and "/torch/" not in frame.filename
    ]
    by = f" by {Path(library[-1].filename).name}:{library[-1].lineno}" if ours and library else ""
    path = Path(near.filename)
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
    return f"{shown}:{near.lineno}{by}"


def _computed(func: Any, args: Any, kwargs: Any) -> Any:
    """The result, on the device where an argument is there or it is asked for."""
    there = any(isinstance(each, Pretended) for each in tree_leaves((args, kwargs)))
    plain = dict(kwargs)
    if kwargs.get("device") is not None:
        there = torch.device(kwargs["device"]).type == NAME
        plain["device"] = torch.device("cpu") if there else kwargs["device"]
    given, named = tree_map(_inner, (args, plain))
    found = func(*given, **named)
    if func._schema.is_mutable:
        names = [each.name for each in func._schema.arguments if each.alias_info and each.alias_info.is_write]
        if "out" in names:
            return kwargs["out"]
        return args[0] if isinstance(found, Tensor) else None if found is None else args[0]
    return tree_map(lambda each: Pretended(each) if there and isinstance(each, Tensor) else each, found)


def _inner(value: Any) -> Any:
    return value.held if isinstance(value, Pretended) else value


def register() -> None:
    """Tell PyTorch of the device; before its first backward pass, which starts a thread for each device."""
    _setup_privateuseone_for_python_backend(NAME)
    getattr(torch, NAME).get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]


@contextmanager
def pretended() -> Iterator[Device]:
    """Note what happens on the device in the block."""
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with Device() as device:
            yield device
    finally:
        torch._C._set_only_lift_cpu_tensors(False)
