"""The published text encoder."""

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase, T5EncoderModel

from hallo3_lightning.model.encoders.folder import existing


class T5Text(nn.Module):
    """Hidden states of T5's encoder, padded to a fixed length and not masked, as CogVideoX was trained.

    Source: arXiv 1910.10683; the folder holds `text_encoder/` and `tokenizer/` or both in one.
    """

    def __init__(self, model: T5EncoderModel, tokenizer: PreTrainedTokenizerBase, tokens: int) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.tokens = tokens

    @property
    def width(self) -> int:
        return self.model.config.d_model

    @classmethod
    def load(cls, folder: str, tokens: int, width: int) -> "T5Text":
        path = existing(folder, "text encoder", "model.encoders.text_folder")
        model = T5EncoderModel.from_pretrained(path, local_files_only=True, dtype=torch.float32)
        return cls(model, AutoTokenizer.from_pretrained(path, local_files_only=True), tokens)

    def encode(self, captions: tuple[str, ...]) -> Tensor:
        """[B, L, E]."""
        given = self.tokenizer(
            list(captions), padding="max_length", max_length=self.tokens, truncation=True, return_tensors="pt"
        )
        return self.model(given.input_ids.to(self.model.device)).last_hidden_state
