"""Tokens of the demo model: how its vocabulary is made, and how a conversation becomes ids.

The vocabulary is byte-level BPE with the splitting rule that llama.cpp calls `gpt-2`. Two habits make copying easy for
a small network: a digit is always a token of its own, and a word has the same tokens with and without the space before
it. For that, no merge crosses the space, except the very last ones, which join it to the commonest words.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples import Example, Message
from jinja2 import Environment
from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as InOrder
from tokenizers.trainers import BpeTrainer

TEMPLATE = Path(__file__).with_name("template.jinja")
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Tokens that text cannot contain."""
MARKS = ("<tools>", "</tools>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
"""Tokens that are written out as they are spelled."""
SIZE = 2048
JOINED = 200
"""How many words have a token of their own together with the space before them."""
SPACE = "Ġ"
_SHORTEST_JOINED = 2
_SPLIT = ByteLevel(add_prefix_space=False, use_regex=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """One conversation as ids."""

    prompt: list[int]
    """Up to and with the opening of the assistant's turn."""
    answer: list[int]
    """The assistant's turn and the token that ends it."""


def _dump(value: Any, **_: Any) -> str:  # noqa: ANN401  # JSON is anything
    return json.dumps(value, ensure_ascii=False)


_ENVIRONMENT = Environment(autoescape=False)  # noqa: S701  # makes no HTML
_ENVIRONMENT.filters["tojson"] = _dump
_RENDER = _ENVIRONMENT.from_string(TEMPLATE.read_text())


def render(messages: Sequence[Message], tools: Sequence[Message] = (), *, opened: bool) -> str:
    """Write a conversation as the template does; `opened` adds the opening of the assistant's turn."""
    return _RENDER.render(messages=list(messages), tools=list(tools), add_generation_prompt=opened)


def parts(example: Example) -> tuple[str, str]:
    """Write an example as the prompt the engine will see and the text it should add, with its end."""
    prompt = render(example.messages, example.tools, opened=True)
    whole = render([*example.messages, example.answer], example.tools, opened=False)
    if not whole.startswith(prompt):
        raise ValueError("The template writes a prompt differently once it is answered.")
    return prompt, whole[len(prompt) :].removesuffix("\n")


def learn(texts: Iterable[str]) -> dict[str, Any]:
    """Make a vocabulary from texts: `{"vocab": {token: id}, "merges": [[left, right]]}`."""
    kept = list(texts)
    first = Tokenizer(BPE())
    first.pre_tokenizer = InOrder(
        [_SPLIT, Split(Regex(f"^{SPACE}(?=[^{SPACE}])"), "isolated"), Split(Regex("[0-9]"), "isolated")]
    )
    special = [AddedToken(text, special=True, normalized=False) for text in (*CONTROL, *MARKS)]
    trainer = BpeTrainer(
        vocab_size=SIZE - JOINED, special_tokens=special, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    first.train_from_iterator(kept, trainer)
    model = json.loads(first.to_str())["model"]
    vocab: dict[str, int] = model["vocab"]
    merges = [list(pair) for pair in model["merges"]]
    for word in _commonest(kept, vocab):
        merges.append([SPACE, word])
        vocab[SPACE + word] = len(vocab)
    return {"vocab": vocab, "merges": merges}


def _commonest(texts: Iterable[str], vocab: Mapping[str, int]) -> list[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        for piece, _ in _SPLIT.pre_tokenize_str(text):
            word = piece[1:]
            if piece[0] == SPACE and len(word) >= _SHORTEST_JOINED and word in vocab and SPACE + word not in vocab:
                counts[word] += 1
    return [word for word, _ in counts.most_common(JOINED)]


class Tokens:
    """A vocabulary in use."""

    def __init__(self, learned: Mapping[str, Any]) -> None:
        self.vocab: dict[str, int] = dict(learned["vocab"])
        self.merges: list[tuple[str, str]] = [(left, right) for left, right in learned["merges"]]
        self._coder = Tokenizer(BPE(self.vocab, self.merges))
        self._coder.pre_tokenizer = _SPLIT
        self._coder.decoder = ByteLevelDecoder()
        self._coder.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in CONTROL])
        self._coder.add_tokens([AddedToken(text, special=False, normalized=False) for text in MARKS])

    @classmethod
    def load(cls, path: Path) -> "Tokens":
        """Read what `save` wrote."""
        return cls(json.loads(path.read_text()))

    def save(self, path: Path) -> None:
        """Write vocabulary and merges as JSON."""
        path.write_text(json.dumps({"vocab": self.vocab, "merges": self.merges}, ensure_ascii=False))

    def ids(self, text: str) -> list[int]:
        """Make ids; the texts of control tokens become control tokens."""
        encoded: list[int] = self._coder.encode(text).ids
        return encoded

    def text(self, ids: Sequence[int]) -> str:
        """Make text, control tokens included."""
        decoded: str = self._coder.decode(list(ids), skip_special_tokens=False)
        return decoded

    def encode(self, example: Example) -> Encoded:
        """Make ids of an example, split where the engine's prompt ends."""
        prompt, answer = parts(example)
        return Encoded(prompt=self.ids(prompt), answer=self.ids(answer))
