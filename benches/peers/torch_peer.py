"""The peer: the decoder of `lm` in plain PyTorch, one kind of work timed in one process.

    torch_peer.py VARIANT SHAPE WORK SECONDS MODEL

VARIANT is `eager`, `compile` (torch.compile) or `bf16` (autocast). MODEL is a folder that `lm` saved: both sides start
from the same weights, and the losses printed here are compared with ours, so that the same work is timed. Prints one
line of JSON.
"""

import contextlib
import json
import pathlib
import resource
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

# Rows and columns of the matrices whose product shows what the processor can do.
PEAK = 1024
SHAPES = json.loads((pathlib.Path(__file__).parent / "shapes.json").read_text())


class Decoder(torch.nn.Module):
    """Llama, with queries, keys and values as one product, and gate and up as one: as `lm` has it."""

    def __init__(self, config, tensors, head="lm"):
        super().__init__()
        self.eps, self.layers = config["rms_norm_eps"], config["num_hidden_layers"]
        self.width, self.heads = config["hidden_size"], config["num_attention_heads"]
        self.dim = self.width // self.heads
        weights = {"embedding": tensors["model.embed_tokens.weight"], "norm": tensors["model.norm.weight"]}
        for i in range(self.layers):
            of = lambda name: tensors[f"model.layers.{i}.{name}.weight"]
            weights[f"norm1_{i}"] = of("input_layernorm")
            weights[f"qkv_{i}"] = torch.cat([of(f"self_attn.{x}_proj") for x in "qkv"])
            weights[f"out_{i}"] = of("self_attn.o_proj")
            weights[f"norm2_{i}"] = of("post_attention_layernorm")
            weights[f"gate_up_{i}"] = torch.cat([of("mlp.gate_proj"), of("mlp.up_proj")])
            weights[f"down_{i}"] = of("mlp.down_proj")
        if head == "scalar":
            weights["score"] = torch.zeros(1, self.width)
        self.head = head
        self.w = torch.nn.ParameterDict({k: torch.nn.Parameter(v.clone()) for k, v in weights.items()})
        pairs = 1.0 / 10_000 ** (torch.arange(0, self.dim, 2) / self.dim)
        angles = torch.arange(config["max_position_embeddings"])[:, None] * pairs[None]
        self.register_buffer("cos", torch.cat([angles.cos()] * 2, -1))
        self.register_buffer("sin", torch.cat([angles.sin()] * 2, -1))

    def rotate(self, x, start):
        cos, sin = (t[start : start + x.shape[2]] for t in (self.cos, self.sin))
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin

    def forward(self, ids, cache=None, start=0):
        """Logits `[sequences, tokens, vocabulary]`, or values `[sequences, tokens]`."""
        w, (n, t) = self.w, ids.shape
        x = F.embedding(ids, w["embedding"])
        for i in range(self.layers):
            h = F.rms_norm(x, (self.width,), w[f"norm1_{i}"], self.eps)
            qkv = F.linear(h, w[f"qkv_{i}"]).view(n, t, 3, self.heads, self.dim).permute(2, 0, 3, 1, 4)
            q, k, v = self.rotate(qkv[0], start), self.rotate(qkv[1], start), qkv[2]
            if cache is not None:
                keys, values = cache[i]
                keys[:, :, start : start + t], values[:, :, start : start + t] = k, v
                k, v = keys[:, :, : start + t], values[:, :, : start + t]
            h = F.scaled_dot_product_attention(q, k, v, is_causal=t > 1)
            x = x + F.linear(h.transpose(1, 2).reshape(n, t, self.width), w[f"out_{i}"])
            h = F.rms_norm(x, (self.width,), w[f"norm2_{i}"], self.eps)
            gate, up = F.linear(h, w[f"gate_up_{i}"]).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, w[f"down_{i}"])
        if cache is not None:
            x = x[:, -1:]
        x = F.rms_norm(x, (self.width,), w["norm"], self.eps)
        return F.linear(x, w["score"])[..., 0] if self.head == "scalar" else F.linear(x, w["embedding"])


def log_probs(model, ids, start):
    """Of the tokens from `start` on: `[sequences, tokens - start]`."""
    logits = model(ids[:, :-1])[:, start - 1 :]
    return logits.log_softmax(-1).gather(-1, ids[:, start:, None])[..., 0]


def token_ids(rows, length, vocabulary):
    i = torch.arange(rows * length)
    return ((i * 7919 + i * i * 104_729) % vocabulary).view(rows, length)


class Peer:
    def __init__(self, variant, shape, folder):
        torch.manual_seed(1)
        self.shape = SHAPES[shape]
        self.config = self.shape["model"]
        self.tensors = load_file(f"{folder}/model.safetensors")
        self.compile = torch.compile if variant == "compile" else lambda model: model
        bf16 = lambda: torch.autocast("cpu", torch.bfloat16)
        self.precision = bf16 if variant == "bf16" else contextlib.nullcontext
        # A line of losses says whether both sides did the same work.
        self.losses = []

    def model(self, head="lm"):
        return self.compile(Decoder(self.config, self.tensors, head))

    def optimizer(self, model):
        return torch.optim.AdamW(model.parameters(), lr=1e-3, eps=1e-8, weight_decay=0.0, fused=True)

    def step(self, model, optimizer, loss):
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    def training(self):
        rows, length = self.shape["sequences"], self.shape["length"]
        ids = token_ids(rows, length, self.config["vocab_size"])
        model = self.model()
        optimizer = self.optimizer(model)

        def work():
            with self.precision():
                logits = model(ids[:, :-1])
            loss = F.cross_entropy(logits.float().reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
            self.step(model, optimizer, loss)
            self.losses.append(loss.item())

        return work, rows * (length - 1)

    def generate(self, model, prompts, new):
        rows, length = prompts.shape
        dims = (rows, self.config["num_attention_heads"], length + new)
        dim = self.config["hidden_size"] // self.config["num_attention_heads"]
        dtype = torch.bfloat16 if self.precision is not contextlib.nullcontext else torch.float32
        cache = [[torch.empty(*dims, dim, dtype=dtype) for _ in "kv"] for _ in range(self.config["num_hidden_layers"])]
        ids, current, scores, start = [prompts], prompts, [], 0
        with torch.inference_mode(), self.precision():
            for _ in range(new):
                probabilities = model(current, cache, start)[:, -1].float().log_softmax(-1)
                start += current.shape[1]
                current = torch.multinomial(probabilities.exp(), 1)
                ids.append(current)
                scores.append(probabilities.gather(-1, current))
        return torch.cat(ids, 1), torch.cat(scores, 1)

    def sampling(self):
        rows, new = self.shape["prompts"], self.shape["response"]
        prompts = token_ids(rows, self.shape["prompt"], self.config["vocab_size"])
        # Sampling with shapes that grow by one makes torch.compile compile again for each: it stays eager.
        model = Decoder(self.config, self.tensors)
        return lambda: self.generate(model, prompts, new), rows * new

    def ppo(self, epochs):
        """One iteration: rollout, scores, and `epochs` passes in 4 minibatches over policy and critic."""
        rows, new, start = self.shape["prompts"], self.shape["response"], self.shape["prompt"]
        prompts = token_ids(rows, start, self.config["vocab_size"])
        policy, reference = Decoder(self.config, self.tensors), Decoder(self.config, self.tensors)
        reward, critic = (Decoder(self.config, self.tensors, "scalar") for _ in range(2))
        optimizers = self.optimizer(policy), self.optimizer(critic)
        with_compile = [self.compile(model) for model in (policy, reference, reward, critic)]

        def work():
            ids, old = self.generate(policy, prompts, new)
            ids, old = ids.clone(), old.clone()
            with torch.no_grad(), self.precision():
                kl = old - log_probs(with_compile[1], ids, start).float()
                paid = with_compile[2](ids)[:, -1].float()
                values = with_compile[3](ids)[:, start - 1 : -1].float()
            rewards = -0.05 * kl
            rewards[:, -1] += paid
            advantages, after = torch.empty_like(values), torch.zeros(rows)
            for t in reversed(range(new)):
                following = values[:, t + 1] if t + 1 < new else 0.0
                after = rewards[:, t] + following - values[:, t] + 0.95 * after
                advantages[:, t] = after
            returns = advantages + values
            advantages = (advantages - advantages.mean()) / (advantages.std(unbiased=False) + 1e-8)
            for _ in range(epochs):
                for part in torch.randperm(rows).chunk(4):
                    with self.precision():
                        now = log_probs(with_compile[0], ids[part], start)
                    ratio, a = (now.float() - old[part]).exp(), advantages[part]
                    loss = -torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a).mean()
                    self.step(policy, optimizers[0], loss)
                    with self.precision():
                        now = with_compile[3](ids[part])[:, start - 1 : -1]
                    self.step(critic, optimizers[1], (now.float() - returns[part]).square().mean() / 2)

        return work, rows * new

    def peak(self):
        a, b, c = (torch.ones(PEAK, PEAK) for _ in range(3))
        return lambda: torch.mm(a, b, out=c), 0

    def build(self, work):
        return self.ppo(int(work[-1])) if work.startswith("ppo") else getattr(self, work)()


def main():
    variant, shape, work, seconds, folder = sys.argv[1:]
    peer = Peer(variant, shape, folder)
    run, tokens = peer.build(work)
    # The first runs compile, allocate, and fill caches.
    run(), run()
    times, begun = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begun < float(seconds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = {"ms": statistics.median(times) * 1e3, "tokens": tokens, "losses": peer.losses[:3], "mib": mib}
    print(json.dumps(line | {"threads": torch.get_num_threads(), "version": torch.__version__}))


if __name__ == "__main__":
    main()
