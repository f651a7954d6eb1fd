#!/usr/bin/env python3
"""Our decoder against Hugging Face `transformers`, on small random checkpoints of both families.

    python3 benches/peers/checkpoints.py [FOLDER ...]

Each checkpoint is written by `transformers` and read by `lm`: log-probabilities must agree to 1e-4, gradients of the
loss to 1e-3 of their norm. Folders given as arguments go the other way: models that the pipeline wrote, such as
`cache/objects/ab/cdef...`, are read by `transformers` and by `lm`. Ends with exit code 1 if anything differs.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

from environment import OURS, PYTHON, prepare

if __name__ == "__main__" and pathlib.Path(sys.prefix).resolve() != PYTHON.parent.parent.resolve():
    prepare("checkpoint")
    sys.exit(subprocess.run([PYTHON, __file__, *sys.argv[1:]]).returncode)

import torch
from transformers import AutoModelForCausalLM, GemmaConfig, LlamaConfig
from transformers.utils import logging

logging.disable_progress_bar()

SIZES = dict(vocab_size=97, intermediate_size=88, num_hidden_layers=3, max_position_embeddings=128)
LLAMA3 = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0)
LLAMA3["original_max_position_embeddings"] = 32
CASES = {
    "llama": LlamaConfig(hidden_size=48, num_attention_heads=4, num_key_value_heads=2, **SIZES),
    "llama, tied, wide heads": LlamaConfig(
        hidden_size=40, num_attention_heads=4, num_key_value_heads=1, head_dim=16, tie_word_embeddings=True, **SIZES
    ),
    "llama, other base": LlamaConfig(
        hidden_size=48, num_attention_heads=6, num_key_value_heads=3, rope_theta=500_000.0, rms_norm_eps=1e-5, **SIZES
    ),
    "llama, linear rope": LlamaConfig(
        hidden_size=48, num_attention_heads=4, rope_scaling=dict(rope_type="linear", factor=2.5), **SIZES
    ),
    "llama, llama3 rope": LlamaConfig(hidden_size=48, num_attention_heads=4, rope_scaling=LLAMA3, **SIZES),
    "gemma": GemmaConfig(hidden_size=48, num_attention_heads=4, num_key_value_heads=1, head_dim=24, **SIZES),
    "gemma, grouped": GemmaConfig(hidden_size=40, num_attention_heads=4, num_key_value_heads=2, head_dim=16, **SIZES),
}


def sequences(vocabulary):
    generator = torch.Generator().manual_seed(2)
    # Without the padding token, 0: PyTorch gives the embedding of padding no gradient.
    return [torch.randint(1, vocabulary, (n,), generator=generator).tolist() for n in [2, 7, 31, 60]]


def theirs(model, texts):
    """Log-probabilities of all next tokens, and gradients of their mean loss."""
    model.zero_grad()
    rows, losses = [], []
    for text in texts:
        ids = torch.tensor([text])
        scores = model(ids).logits[0, :-1].float().log_softmax(-1)
        rows.append(scores)
        losses.append(-scores.gather(-1, ids[0, 1:, None])[:, 0])
    loss = torch.cat(losses).mean()
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return torch.cat(rows).detach(), loss.item(), gradients


def compare(name, folder, copy=None):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    texts = sequences(model.config.vocab_size)
    expected, loss, gradients = theirs(model, texts)
    arguments = [folder, copy, "40000"] if copy else [folder]
    said = subprocess.run([OURS / "checkpoint", *arguments], input=json.dumps(texts), capture_output=True, text=True)
    if said.returncode != 0:
        print(f"{name:<28} failed: {said.stderr.strip()}")
        return False
    ours = json.loads(said.stdout)
    found = torch.tensor(ours["log_softmax"]).view_as(expected)
    apart = (found - expected).abs().max().item()
    slopes = 0.0
    for tensor, gradient in gradients.items():
        mine = torch.tensor(ours["gradients"][tensor]).view_as(gradient)
        slopes = max(slopes, ((mine - gradient).norm() / gradient.norm()).item())
    right = apart <= 1e-4 and slopes <= 1e-3 and abs(ours["loss"] - loss) <= 1e-4
    print(f"{name:<28} log-probabilities {apart:.1e}  gradients {slopes:.1e}  {'ok' if right else 'DIFFER'}")
    return right


def main():
    right = True
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, config) in enumerate(CASES.items()):
            torch.manual_seed(number)
            model = AutoModelForCausalLM.from_config(config)
            # Norms that are not one, and weights that say something.
            for parameter in model.parameters():
                parameter.data += 0.1 * torch.randn_like(parameter)
            for form, dtype, size in [
                ("f32", torch.float32, "1GB"),
                ("bf16", torch.bfloat16, "1GB"),
                ("f16", torch.float16, "1GB"),
                ("f32, sharded", torch.float32, "40KB"),
            ]:
                to = f"{folder}/{number}-{form.replace(', ', '-')}"
                model.to(dtype).save_pretrained(to, max_shard_size=size)
                copy = f"{to}-by-us" if form == "f32" else None
                right &= compare(f"{name}: {form}", to, copy)
                if copy:
                    # What we have written ourselves, in several files, says the same to both.
                    right &= compare(f"{name}: sharded by us", copy)
                model = model.float()
    for given in sys.argv[1:]:
        right &= compare(given[-28:], given)
    sys.exit(0 if right else 1)


main()
