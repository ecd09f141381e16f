"""Train the storyteller. Stops and goes on at will: the state is written to run/ every few minutes.

Matrices inside the layers learn by Muon, whose updates have the same size in all directions; embedding, head and norms
by AdamW. The learning rates rise over the first steps and then fall straight to zero. A second, shorter leg starts from
lower rates and falls to zero again: it learns the rare rules that the first leaves half learned.

Two processes of one thread each share every batch and add up their gradients. They meet twice a step, where the threads
of a single process would meet hundreds of times, which on a busy machine makes all the difference.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import sentencepiece
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from .batches import Batch, held_out, pad, training_batches
from .network import CONTEXT, export, new_network
from .tokenizer import train_tokenizer

HERE = Path(__file__).parent
RUN = HERE / "run"
STORYTELLER = HERE.parent / "storyteller"

NETWORK_SEED = 0
WORKERS = 2
LEGS = ((20_000_000, 1.0), (26_000_000, 0.4), (27_500_000, 0.3))  # up to how many tokens, from which share of the rates
TOKENS = LEGS[-1][0]
MUON_RATE = 0.01
EMBEDDING_RATE = 0.01
HEAD_RATE = 0.001  # norms too
WARM_UP = 100_000  # tokens
MOMENTUM = 0.95
CLIP = 1.0
HELD_OUT_STORIES = 200  # for the curve; evaluate.py measures on more

SAVE_EVERY = 180.0  # seconds
MEASURE_EVERY = 120.0
EXPORT_EVERY = 600.0


class Muon(torch.optim.Optimizer):
    """Momentum whose every update is made orthogonal, by Newton and Schulz's iteration (Jordan et al. 2024).

    torch has a Muon of its own. It iterates in bfloat16, which CPUs without bfloat16 arithmetic do slowly, and takes
    one matrix at a time; this one takes all matrices of a shape at once, in float32, and each worker its share of them.
    """

    def __init__(self, parameters: list[nn.Parameter], lr: float, momentum: float):
        shapes: dict[torch.Size, list[nn.Parameter]] = {}
        for parameter in parameters:
            shapes.setdefault(parameter.shape, []).append(parameter)
        super().__init__([{"params": alike} for alike in shapes.values()], {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        rank, workers = dist.get_rank(), dist.get_world_size()
        updates = []
        for group in self.param_groups:
            gradient = torch.stack([parameter.grad for parameter in group["params"]])
            velocity = self.state[group["params"][0]].setdefault("velocity", torch.zeros_like(gradient))
            velocity.lerp_(gradient, 1 - group["momentum"])
            update = torch.zeros_like(gradient)
            update[rank::workers] = orthogonal(gradient.lerp(velocity, group["momentum"])[rank::workers])
            updates.append(update)
        together = torch.cat([update.flatten() for update in updates])
        dist.all_reduce(together)
        shares = together.split([update.numel() for update in updates])
        for group, share, update in zip(self.param_groups, shares, updates, strict=True):
            rows, columns = update.shape[1:]
            scale = group["lr"] * math.sqrt(max(1.0, rows / columns))
            for parameter, change in zip(group["params"], share.view_as(update), strict=True):
                parameter.sub_(change, alpha=scale)


def orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """Bring every singular value of each matrix close to 1, and keep its singular vectors.

    An odd polynomial acts on the singular values alone. This one, applied five times, takes all that are not tiny to
    between about 0.7 and 1.2, which is even enough.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.mT if tall else x


def optimisers(network: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    matrices = [p for p in network.model.layers.parameters() if p.ndim == 2]
    embedding = network.model.embed_tokens.weight
    taken = {id(p) for p in [*matrices, embedding]}
    others = [p for p in network.parameters() if id(p) not in taken]
    groups = [{"params": [embedding], "lr": EMBEDDING_RATE}, {"params": others, "lr": HEAD_RATE}]
    return [Muon(matrices, MUON_RATE, MOMENTUM), torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)]


def pace(seen: int) -> float:
    """The share of the full learning rates after this many tokens."""
    begin = 0
    for end, share in LEGS:
        if seen < end:
            return min((seen + 3000) / WARM_UP, 1.0) * share * (end - seen) / (end - begin)
        begin = end
    return 0.0


def loss_sum(network: LlamaForCausalLM, batch: Batch) -> Tensor:
    """Sum of -log p over the predicted tokens. Padding stands at the ends, where no token that counts looks at it."""
    logits = network(batch.ids, use_cache=False).logits  # (B, T, V)
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten(), reduction="sum")


@torch.no_grad()
def held_out_loss(network: LlamaForCausalLM, rows: list[list[int]]) -> float:
    """Nats per token, `</s>` included."""
    rows = sorted(rows, key=len)
    batches = [pad(rows[i : i + 25]) for i in range(0, len(rows), 25)]
    return sum(float(loss_sum(network, batch)) for batch in batches) / sum(batch.tokens for batch in batches)


def prepare(folder: Path) -> tuple[bytes, sentencepiece.SentencePieceProcessor]:
    """The tokenizer of the run: trained at first, then kept."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tokenizer.model"
    if not path.exists():
        path.write_bytes(train_tokenizer())
    return path.read_bytes(), sentencepiece.SentencePieceProcessor(model_file=str(path))


def share_gradient(network: LlamaForCausalLM) -> Tensor:
    """Lay the gradients of all weights out in one vector, so that workers can add them up in one go."""
    parameters = list(network.parameters())
    sizes = [p.numel() for p in parameters]
    vector = torch.zeros(sum(sizes))
    pieces = vector.split(sizes)
    for parameter, piece in zip(parameters, pieces, strict=True):
        parameter.grad = piece.view_as(parameter)
    return vector


def train(run: Path = RUN, target: Path = STORYTELLER) -> None:
    """Train until the budget of tokens is spent; go on from the run's last checkpoint where there is one."""
    prepare(run)
    meeting = run / "meeting"
    meeting.unlink(missing_ok=True)
    mp.spawn(work, (run, target, meeting), nprocs=WORKERS)
    meeting.unlink(missing_ok=True)


def work(rank: int, run: Path, target: Path, meeting: Path) -> None:
    """One worker. All of them hold the same weights all the time; the first also measures and saves."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting.resolve()}", rank=rank, world_size=WORKERS)
    leads = rank == 0
    model_bytes, tokenizer = prepare(run)
    network = new_network(NETWORK_SEED)
    gradient = share_gradient(network)
    steppers = optimisers(network)
    groups = [group for stepper in steppers for group in stepper.param_groups]
    peaks = [group["lr"] for group in groups]
    step = seen = story = 0
    seconds = 0.0

    checkpoint = run / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        network.load_state_dict(saved["network"])
        for stepper, state in zip(steppers, saved["steppers"], strict=True):
            stepper.load_state_dict(state)
        groups = [group for stepper in steppers for group in stepper.param_groups]
        step, seen, story, seconds = saved["step"], saved["seen"], saved["story"], saved["seconds"]
    dist.barrier()

    def save() -> None:
        states = [stepper.state_dict() for stepper in steppers]
        fresh = {"network": network.state_dict(), "steppers": states}
        fresh |= {"step": step, "seen": seen, "story": story, "seconds": seconds}
        torch.save(fresh, checkpoint.with_suffix(".new"))
        os.replace(checkpoint.with_suffix(".new"), checkpoint)

    test = held_out(tokenizer, HELD_OUT_STORIES)
    test_rows = [ids for _, ids in test]
    entropy = sum(s.nats for s, _ in test) / sum(len(ids) - 1 for ids in test_rows)

    def measure() -> None:
        loss = held_out_loss(network, test_rows)
        line = {"step": step, "tokens": seen, "seconds": round(seconds), "training": round(recent, 4)}
        line |= {"held_out": round(loss, 4), "excess": round(loss - entropy, 4)}
        with open(run / "log.jsonl", "a") as log:
            log.write(json.dumps(line) + "\n")
        left = (TOKENS - seen) * seconds / max(seen, 1)
        status = f"{time.strftime('%H:%M')} {line}, about {left / 60:.0f} min of training left"
        (run / "STATUS.txt").write_text(status + "\n")
        print(status, flush=True)

    began = time.monotonic() - seconds
    due = {"save": seconds + SAVE_EVERY, "measure": seconds + MEASURE_EVERY / 4, "export": seconds + EXPORT_EVERY / 3}
    recent = math.nan  # the training loss, smoothed over some fifty steps
    for batch, next_story in training_batches(tokenizer, CONTEXT, story):
        if seen >= TOKENS:
            break
        for group, peak in zip(groups, peaks, strict=True):
            group["lr"] = peak * pace(seen)
        mine = Batch(batch.ids[rank::WORKERS], batch.labels[rank::WORKERS], batch.tokens)
        gradient.zero_()
        loss = loss_sum(network, mine) / batch.tokens
        loss.backward()
        dist.all_reduce(gradient)
        gradient.mul_(min(1.0, CLIP / (float(gradient.norm()) + 1e-6)))
        for stepper in steppers:
            stepper.step()

        step, seen, story = step + 1, seen + batch.tokens, next_story
        now = WORKERS * float(loss.detach())
        recent = now if math.isnan(recent) else recent + 0.02 * (now - recent)
        seconds = time.monotonic() - began
        if leads and seconds >= due["measure"]:
            measure()
            due["measure"] = seconds + MEASURE_EVERY
        if leads and seconds >= due["save"]:
            save()
            due["save"] = seconds + SAVE_EVERY
        if leads and seconds >= due["export"]:
            export(network, model_bytes, target)
            due["export"] = seconds + EXPORT_EVERY
    seconds = time.monotonic() - began
    if leads:
        measure()
        save()
        export(network, model_bytes, target)
    dist.barrier()
    dist.destroy_process_group()
