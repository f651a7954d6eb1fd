"""The peer: a whole PPO iteration by TRL's own trainer, timed in one process.

    trl_peer.py VARIANT SHAPE WORK SECONDS MODEL

VARIANT is `trl`, WORK is `ppo-1` or `ppo-4`. Prints one line of JSON, as `torch_peer.py` does.

Timed is the trainer's loop from the end of one update to the end of the next: its prompts, the rollout, the scores,
all optimiser steps, the statistics that the trainer always gathers, and its own calls of Python's garbage collector.
Nothing is logged, saved or evaluated. The first two updates are not counted.

All models start from the saved weights, in f32, with scalar heads of zeros. An epoch is 4 minibatches, one optimiser
step each, as in the plain loop. What TRL does in its own way stays so: one optimiser holds the policy and the critic
and steps both at once, values are clipped too, gradients are not, and every model gives the hidden states of all its
layers. It draws responses of its own, so that its losses cannot be compared with anybody's.
"""

import json
import os
import resource
import statistics
import sys
import tempfile
import time

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import torch
import trl
from torch_peer import SHAPES, token_ids
from transformers import LlamaForCausalLM, LlamaForSequenceClassification, PrinterCallback, TrainerCallback
from trl.experimental.ppo import PPOConfig, PPOTrainer


class Enough(Exception):
    """The trainer goes on until all its episodes are done, whatever its callbacks say."""


class Clock(TrainerCallback):
    def __init__(self, seconds):
        self.seconds, self.updates = seconds, []

    def on_log(self, args, state, control, logs, **kwargs):
        # What looks like padding ends a response, and would be less work.
        assert logs["val/num_eos_tokens"] == 0, logs

    def on_step_end(self, args, state, control, **kwargs):
        self.updates.append(time.perf_counter())
        if len(self.times()) >= 3 and self.updates[-1] - self.updates[1] >= self.seconds:
            raise Enough

    def times(self):
        """Of all updates but the first two, which allocate and fill caches."""
        return [after - before for before, after in zip(self.updates[1:], self.updates[2:])]


class NoTokenizer:
    """Prompts are token ids: the trainer asks only for two of them. No model can draw these, so nothing ends early."""

    def __init__(self, vocabulary):
        self.pad_token_id = self.eos_token_id = vocabulary


def build(shape, epochs, folder, output, clock):
    rows, start = shape["prompts"], shape["prompt"]
    prompts = token_ids(rows, start, shape["model"]["vocab_size"])
    policy, reference = (LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32) for _ in range(2))
    load = lambda: LlamaForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)
    reward, critic = (load() for _ in range(2))
    for model in (reward, critic):
        torch.nn.init.zeros_(model.score.weight)
    config = PPOConfig(
        output_dir=output,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        # More than anybody waits for: the clock ends it.
        total_episodes=1_000_000 * rows,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=1,
        num_mini_batches=4,
        num_ppo_epochs=epochs,
        local_rollout_forward_batch_size=rows,
        response_length=shape["response"],
        temperature=1.0,
        vf_coef=1.0,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        num_sample_generations=0,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = PPOTrainer(
        args=config,
        processing_class=NoTokenizer(shape["model"]["vocab_size"]),
        model=policy,
        ref_model=reference,
        reward_model=reward,
        value_model=critic,
        train_dataset=[{"input_ids": ids} for ids in prompts],
        data_collator=lambda batch: {"input_ids": torch.stack([row["input_ids"] for row in batch])},
        callbacks=[clock],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def main():
    _, shape, work, seconds, folder = sys.argv[1:]
    shape = SHAPES[shape]
    clock = Clock(float(seconds))
    with tempfile.TemporaryDirectory() as output:
        trainer = build(shape, int(work[-1]), folder, output, clock)
        try:
            trainer.train()
        except Enough:
            pass
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    tokens = shape["prompts"] * shape["response"]
    line = {"ms": statistics.median(clock.times()) * 1e3, "tokens": tokens, "losses": [], "mib": mib}
    print(json.dumps(line | {"threads": torch.get_num_threads(), "version": trl.__version__}))


main()
