"""The network: a small transformer in the layout that llama.cpp calls `qwen3`."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """How large the network is. Every row of a matrix must divide by 32, the block of Q8_0."""

    vocabulary: int = 2048
    """Tokens; the input and the output share one matrix."""
    width: int = 192
    """Numbers that stand for one token between layers."""
    layers: int = 6
    heads: int = 6
    """Query heads."""
    key_heads: int = 6
    """Key and value heads; divides `heads`."""
    head_width: int = 32
    hidden: int = 512
    """Width of the feed-forward part."""
    context: int = 2048
    """Tokens the GGUF names as its context."""
    rope_base: float = 10_000.0
    epsilon: float = 1e-6

    def to_dict(self) -> dict[str, float]:
        """Make what a checkpoint keeps."""
        return asdict(self)


def _rotations(shape: Shape, length: int) -> tuple[Tensor, Tensor]:
    """Make cosines and sines, each `[length, head_width]`, halves side by side (llama.cpp's NEOX order)."""
    half = shape.head_width // 2
    speed = shape.rope_base ** (-torch.arange(half, dtype=torch.float32) / half)
    angle = torch.arange(length, dtype=torch.float32)[:, None] * speed[None, :]
    both = torch.cat([angle, angle], dim=1)
    return both.cos(), both.sin()


def _rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn `[batch, heads, length, head_width]` by position."""
    left, right = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat([-right, left], dim=-1) * sin


class Layer(nn.Module):
    """Attention, then feed-forward, each added to what came in."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        inner, keys = shape.heads * shape.head_width, shape.key_heads * shape.head_width
        self.attn_norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.attn_q = nn.Linear(shape.width, inner, bias=False)
        self.attn_k = nn.Linear(shape.width, keys, bias=False)
        self.attn_v = nn.Linear(shape.width, keys, bias=False)
        self.attn_q_norm = nn.RMSNorm(shape.head_width, eps=shape.epsilon)
        self.attn_k_norm = nn.RMSNorm(shape.head_width, eps=shape.epsilon)
        self.attn_output = nn.Linear(inner, shape.width, bias=False)
        self.ffn_norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.ffn_gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, state: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Map `[batch, length, width]` to the same shape."""
        return self._feed(state + self._attend(self.attn_norm(state), cos, sin))

    def _feed(self, state: Tensor) -> Tensor:
        inner = self.ffn_norm(state)
        out: Tensor = self.ffn_down(functional.silu(self.ffn_gate(inner)) * self.ffn_up(inner))
        return state + out

    def _attend(self, state: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, _ = state.shape
        wide = self.shape.head_width
        query = self.attn_q(state).view(batch, length, -1, wide).transpose(1, 2)
        key = self.attn_k(state).view(batch, length, -1, wide).transpose(1, 2)
        value = self.attn_v(state).view(batch, length, -1, wide).transpose(1, 2)
        query = _rotate(self.attn_q_norm(query), cos, sin)
        key = _rotate(self.attn_k_norm(key), cos, sin)
        groups = self.shape.heads // self.shape.key_heads
        if groups > 1:
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.attn_output(mixed.transpose(1, 2).reshape(batch, length, -1))
        return out


class Network(nn.Module):
    """Tokens in, a hidden state per position out; `logits` turns states into scores of the next token."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.output_norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        cos, sin = _rotations(shape, shape.context)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self._start()

    def _start(self) -> None:
        nn.init.normal_(self.token_embd.weight, std=0.02)
        for layer in self.blk:
            for name, weight in layer.named_parameters():
                if weight.ndim > 1:
                    if name.startswith(("attn_output", "ffn_down")):
                        nn.init.zeros_(weight)
                    else:
                        nn.init.normal_(weight, std=0.6 * weight.shape[1] ** -0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ids `[batch, length]` to states `[batch, length, width]`; causal: padding on the right is harmless."""
        length = tokens.shape[1]
        cos, sin = self.cos[:length], self.sin[:length]
        state = self.token_embd(tokens)
        for layer in self.blk:
            state = layer(state, cos, sin)
        out: Tensor = self.output_norm(state)
        return out

    def logits(self, states: Tensor) -> Tensor:
        """Score every token for states `[..., width]`."""
        return functional.linear(states, self.token_embd.weight)

    def size(self) -> int:
        """Count the parameters."""
        return sum(weight.numel() for weight in self.parameters())
