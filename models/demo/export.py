"""Writes a trained network as a GGUF file for llama.cpp: `python models/demo/export.py build/model model.gguf`."""

import argparse
from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType, quants
from network import Network, Shape
from numpy.typing import NDArray
from tokens import CONTROL, MARKS, TEMPLATE, Tokens

NAME = "slackwater-demo-3m"
DESCRIPTION = (
    "A toy of 3 million parameters that shows a batch server at work without a network or a GPU. It sorts short texts, "
    "picks out fields and calls simple tools, and says so when asked for anything else. Not for real use."
)


def read(folder: Path) -> tuple[Network, Tokens]:
    """Read what training left in a folder."""
    kept = torch.load(folder / "checkpoint.pt")
    network = Network(Shape(**kept["shape"]))
    network.load_state_dict(kept["network"])
    return network.eval(), Tokens.load(folder / "tokens.json")


def names(network: Network) -> dict[str, NDArray[np.float32]]:
    """Name every weight as llama.cpp does."""
    return {
        name: np.ascontiguousarray(weight.detach().numpy(), dtype=np.float32)
        for name, weight in network.named_parameters()
    }


def describe(writer: GGUFWriter, shape: Shape) -> None:
    """Write what the model is and how it is built."""
    writer.add_name(NAME)
    writer.add_description(DESCRIPTION)
    writer.add_author("The slackwater authors")
    writer.add_license("Apache-2.0")
    writer.add_languages(["en"])
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.key_heads)
    writer.add_key_length(shape.head_width)
    writer.add_value_length(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    # Chance adds nothing to a label or a field: unless a request says otherwise, the likeliest token is taken.
    writer.add_sampling_temp(0.0)


def write_tokens(writer: GGUFWriter, tokens: Tokens) -> None:
    """Write vocabulary, merges, the tokens with a role, and the chat template."""
    ordered = sorted(tokens.vocab, key=tokens.vocab.__getitem__)
    roles = dict.fromkeys(CONTROL, TokenType.CONTROL) | dict.fromkeys(MARKS, TokenType.USER_DEFINED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(ordered)
    writer.add_token_types([roles.get(token, TokenType.NORMAL) for token in ordered])
    writer.add_token_merges([" ".join(pair) for pair in tokens.merges])
    writer.add_eos_token_id(tokens.vocab["<|im_end|>"])
    writer.add_eot_token_id(tokens.vocab["<|im_end|>"])
    writer.add_pad_token_id(tokens.vocab["<|endoftext|>"])
    writer.add_add_bos_token(value=False)
    writer.add_chat_template(TEMPLATE.read_text())


def export(folder: Path, out: Path) -> None:
    """Write the GGUF: matrices as Q8_0, norms as they are."""
    network, tokens = read(folder)
    writer = GGUFWriter(out, "qwen3")
    describe(writer, network.shape)
    write_tokens(writer, tokens)
    for name, weight in names(network).items():
        if weight.ndim > 1:
            packed = quants.quantize(weight, GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Read the options and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where train.py wrote")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    export(options.folder, options.out)
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
