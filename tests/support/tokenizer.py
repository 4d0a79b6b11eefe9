"""A tokenizer file made at test time."""

from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers


def word_tokenizer(path: Path, *, longest: int | None = None) -> Path:
    """Write a tokenizer for which every run of letters, and every sign, is one token; return its path."""
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if longest is not None:
        tokenizer.enable_truncation(longest)
        tokenizer.enable_padding(length=longest)
    tokenizer.save(str(path))
    return path
