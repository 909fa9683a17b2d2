"""What computes: processors, or a graphics card (GPU) where ONNX Runtime or Keras can use one."""

from __future__ import annotations

import os
from collections.abc import Iterable

from allmasked.core.errors import ConfigError, unknown

DEVICES: dict[str, tuple[str, str]] = {
    # device: (ONNX Runtime's provider, what brings it)
    "cpu": ("CPUExecutionProvider", "pip install onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "pip uninstall onnxruntime; pip install onnxruntime-gpu"),
    "migraphx": ("MIGraphXExecutionProvider", "pip uninstall onnxruntime; pip install onnxruntime-migraphx"),
    "directml": ("DmlExecutionProvider", "pip uninstall onnxruntime; pip install onnxruntime-directml"),
    "coreml": ("CoreMLExecutionProvider", "pip install onnxruntime, on a Mac"),
    "openvino": ("OpenVINOExecutionProvider", "pip uninstall onnxruntime; pip install onnxruntime-openvino"),
}
"""``auto`` beside these: an NVIDIA card where ONNX Runtime can use one, else the processors."""
AUTO = "auto"


def processors() -> int:
    """How many this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_device(device: str) -> None:
    """Raise :class:`ConfigError` for a name that is none of :data:`DEVICES`, nor ``auto``."""
    if device not in (AUTO, *DEVICES):
        raise unknown("device", device, (AUTO, *DEVICES))


def providers_for(device: str, installed: Iterable[str]) -> list[str]:
    """ONNX Runtime's providers to ask for, best first.

    Args:
        device: a row of :data:`DEVICES`, or ``auto``.
        installed: providers that this ONNX Runtime was built with (``onnxruntime.get_available_providers()``).

    Raises:
        ConfigError: no such device, or ONNX Runtime was built without it.
    """
    check_device(device)
    installed = set(installed)
    cpu = DEVICES["cpu"][0]
    if device == AUTO:
        return [name for name in (DEVICES["cuda"][0], cpu) if name in installed]
    provider, source = DEVICES[device]
    if provider not in installed:
        there = ", ".join(name for name, (known, _) in DEVICES.items() if known in installed)
        raise ConfigError(f"device {device!r}: this ONNX Runtime can't use it, only {there} ({source}), or take 'cpu'")
    return [provider] if provider == cpu else [provider, cpu]
