"""What each block keeps for the backward pass, and whether it is compiled: memory and speed, the same numbers."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.errors import UsageError
from hallo3_lightning.model.block import Block, Run, kept

Compiler = Literal["none", "aot_eager", "inductor"]

EVERY = re.compile(r"every_([1-9]\d*)")

ATTENTION = [
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_fused_attention_overrideable.default,
]
"""What `attention_kept` keeps: half of a block's operations at full size, for one tensor as large as its input."""


class PerBlock(Callback):
    """Arranges the blocks of a phase's denoiser before anything is sharded or moved.

    Args:
        recompute: none, full, every_<k> (every k-th block) or attention_kept.
        compiler: backend of torch.compile; none does not compile.
    """

    def __init__(self, recompute: str, compiler: Compiler) -> None:
        self.recompute = recompute
        self.compiler = compiler
        self.arranged = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Once, though Lightning calls it for each verb."""
        assert isinstance(pl_module.denoiser, Denoiser)
        if not self.arranged:
            self.arrange(pl_module.denoiser)
            self.arranged = True

    def arrange(self, denoiser: Denoiser) -> None:
        """A conditioner that is frozen has no backward pass for which to keep anything."""
        for part, blocks in stacks(denoiser).items():
            if part is denoiser.transformer or any(p.requires_grad for p in part.parameters()):
                recompute(blocks, self.recompute)
            if self.compiler != "none":
                for block in blocks:
                    block.compile(backend=self.compiler)


def stacks(denoiser: Denoiser) -> dict[nn.Module, list[Block]]:
    """The blocks of the backbone, then those of each conditioner that has a network of its own."""
    parts = [denoiser.transformer, *denoiser.conditioners.values()]
    found = {part: [module for module in part.modules() if isinstance(module, Block)] for part in parts}
    return {part: blocks for part, blocks in found.items() if blocks}


def recompute(blocks: Sequence[Block], policy: str) -> None:
    """Let blocks keep less and compute again in the backward pass what they did not keep.

    Source: arXiv 1604.06174 (checkpointing); `attention_kept` is the selective form of arXiv 2205.05198, turned round:
    there attention is recomputed and the rest kept.
    """
    runs = {"none": kept, "full": _again, "attention_kept": _all_but_attention}
    every = EVERY.fullmatch(policy)
    if policy not in runs and every is None:
        raise UsageError(
            f"parallel.recompute is '{policy}'; expected one of {', '.join(runs)}, or every_2, every_3, ... for every "
            "second, third, ... block"
        )
    for i, block in enumerate(blocks):
        run: Run = runs[policy] if every is None else (_again if (i + 1) % int(every[1]) == 0 else kept)
        block.recompute(run)


def _again(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Where there is a backward pass; blocks draw nothing, so that no state of random generators is kept."""
    if not torch.is_grad_enabled():
        return function(*arguments)
    return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False, **options)


_all_but_attention: Run = partial(_again, context_fn=partial(create_selective_checkpoint_contexts, ATTENTION))
