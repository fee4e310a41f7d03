"""Who the clips of a test show, as far as the data say it: clips of one person are no independent draws."""

import hashlib

import torch
from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.clip_metric import NAME_BYTES, ClipMetric, clip_names, decoded, encoded


class Identities(ClipMetric):
    """Gathers the identity of each clip over ranks, as names travel there: in rows of bytes."""

    def see(self, batch: Batch, device: torch.device) -> None:
        """Add B clips; nothing where the batch does not say who they show."""
        if batch.identities is not None:
            self.add(clip_names(batch), encoded([_short(who) for who in batch.identities]).to(device))

    def known(self) -> dict[str, str]:
        """Clip -> identity, over all ranks, of the clips of which it is known."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            kept: dict[str, Tensor] = self.kept()
            named = zip(kept, decoded(torch.stack([*kept.values()])) if kept else [], strict=True)
            return {clip: who for clip, who in named if who}


def _short(identity: str) -> str:
    """It is asked only whether two are the same."""
    long = len(identity.encode()) > NAME_BYTES
    return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest() if long else identity
