"""What devices could compute at best: dense matrix products in bfloat16, from their makers' data sheets.

lightning.fabric.utilities.throughput has such a table too; for some chips (H200 among them) it holds figures with
structured sparsity, which are twice what a dense product can reach.
"""

from collections.abc import Mapping

import torch

PEAKS: Mapping[str, float] = {
    "b200": 2250e12,  # NVIDIA Blackwell datasheet: 4.5 PFLOP/s with sparsity
    "gh200": 989.4e12,  # NVIDIA GH200 datasheet: 1979 TFLOP/s with sparsity
    "h200": 989.4e12,  # NVIDIA H200 datasheet: 1979 with sparsity
    "h100 pcie": 756.5e12,  # NVIDIA H100 datasheet (PCIe): 1513 with sparsity
    "h100 nvl": 835.5e12,  # NVIDIA H100 datasheet (NVL): 1671 with sparsity
    "h100": 989.4e12,  # NVIDIA H100 datasheet (SXM): 1979 with sparsity
    "a100": 312e12,  # NVIDIA A100 datasheet: 312
    "l40s": 362e12,  # NVIDIA L40S datasheet: 733 with sparsity, 362.05 without
    "l40": 181e12,  # NVIDIA L40 datasheet: 181.05
    "a10g": 70e12,  # AWS G5 and NVIDIA: 70 (tensor, float16 and bfloat16)
    "mi300x": 1307.4e12,  # AMD Instinct MI300X datasheet: 1307.4
}
"""FLOP/s by a part of the name that torch gives the device; the first that fits counts."""


def peak_of(device: torch.device) -> float | None:
    """FLOP/s in bfloat16 at best; None where the device is not in the table, as a CPU never is."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device).lower()
    return peak_of_name(name)


def peak_of_name(name: str) -> float | None:
    """Of a device by the name that torch gives it."""
    return next((peak for part, peak in PEAKS.items() if all(word in name.lower() for word in part.split())), None)
