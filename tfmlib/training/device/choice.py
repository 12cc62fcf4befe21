"""Where to compute: the choice of a device, with its reason; and how the CPU keeps its memory."""

import ctypes
import sys
from typing import NamedTuple

import torch


class DeviceChoice(NamedTuple):
    """A device, and a sentence that says what it is and why it was taken."""

    device: torch.device
    reason: str


def pick_device(name: str = "auto") -> DeviceChoice:
    """Return the device to compute on: `device, reason = pick_device("auto")`.

    "auto" takes a CUDA device where there is one, else Apple's MPS, else the CPU. "cpu", "cuda",
    "cuda:1" and "mps" are taken as asked.

    Raises ValueError that says why for a device that is not there, or an unknown name.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return DeviceChoice(
                torch.device("cuda"), f"Computing on {_cuda_name(0)}, the first CUDA device found."
            )
        if torch.backends.mps.is_available():
            return DeviceChoice(
                torch.device("mps"), "Computing on the Apple GPU (mps): no CUDA device was found."
            )
        return DeviceChoice(
            torch.device("cpu"),
            f"Computing on the CPU with {_threads()}: no GPU was found ({_why_no_cuda()}).",
        )
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not (kind == "cuda" and number.isdigit())):
        raise ValueError(f'device must be "auto", "cpu", "cuda", "cuda:N" or "mps", got {name!r}')
    if kind == "cpu":
        return DeviceChoice(
            torch.device("cpu"), f"Computing on the CPU with {_threads()}, as asked."
        )
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise ValueError('device "mps" was asked for, but torch finds no Apple GPU here')
        return DeviceChoice(torch.device("mps"), "Computing on the Apple GPU (mps), as asked.")
    if not torch.cuda.is_available():
        raise ValueError(f'device "{name}" was asked for, but {_why_no_cuda()}')
    count = torch.cuda.device_count()
    if number and int(number) >= count:
        raise ValueError(
            f'device "{name}" was asked for, but the CUDA devices here are 0 to {count - 1}'
        )
    return DeviceChoice(
        torch.device(name), f"Computing on {_cuda_name(int(number or 0))}, as asked."
    )


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next large tensor; return whether it could.

    glibc asks the system for every block above 32 MiB (the logits of a batch, for one) and gives it
    back when it is freed; the system then clears each page again on its first use, in every
    training step. Only glibc (Linux) has this switch. It holds for the whole process, which keeps
    the most memory that it ever needed.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library, such as musl
        return False
    trim_threshold, mmap_max, gibibyte = -1, -4, 2**30
    return bool(mallopt(mmap_max, 0)) and bool(mallopt(trim_threshold, gibibyte))


def _cuda_name(index: int) -> str:
    gibibytes = torch.cuda.get_device_properties(index).total_memory / 2**30
    return f"{torch.cuda.get_device_name(index)} ({gibibytes:.0f} GiB, cuda:{index})"


def _why_no_cuda() -> str:
    if torch.version.cuda is None and torch.version.hip is None:
        return "this build of torch has no CUDA"
    return "torch finds no CUDA device"


def _threads() -> str:
    n = torch.get_num_threads()
    return "1 thread" if n == 1 else f"{n} threads"
