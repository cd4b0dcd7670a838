"""How near two pictures are.

PSNR and MS-SSIM on 8-bit RGB, as CompressAI's benchmarks compute them. Torch is imported by `ms_ssim` only.
"""

from __future__ import annotations

import math

import numpy as np

from benchmarks.images import Pixels

_MIN_SIDE_PX = 161  # MS-SSIM halves the picture four times under an 11-pixel window


def psnr(a: Pixels, b: Pixels) -> float:
    """PSNR in dB over all sub-pixels of two uint8 (H, W, 3); infinite when they are equal."""
    difference = a.astype(np.int32) - b.astype(np.int32)
    error = float(np.mean(difference * difference))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ms_ssim(a: Pixels, b: Pixels) -> float:
    """MS-SSIM (Wang et al. 2003) in 0..1 of two uint8 (H, W, 3); NaN when a side is shorter than 161 pixels."""
    if min(a.shape[:2]) < _MIN_SIDE_PX:
        return math.nan
    import torch
    from pytorch_msssim import ms_ssim as reference

    x, y = (torch.from_numpy(p.transpose(2, 0, 1).astype(np.float32))[None] for p in (a, b))
    return float(reference(x, y, data_range=255))


def decibel(ms_ssim_value: float) -> float:
    """MS-SSIM as -10 log10(1 - MS-SSIM), in dB."""
    return math.inf if ms_ssim_value >= 1 else -10 * math.log10(1 - ms_ssim_value)


def bits_per_subpixel(num_bytes: float, num_px: int) -> float:
    """Bits per color sample of a file of `num_bytes` for `num_px` RGB pixels."""
    return 8 * num_bytes / (3 * num_px)
