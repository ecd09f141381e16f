"""What generate returns with return_dict_in_generate: the sequences, and how they came about."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.model.outputs import CausalLMOutputWithPast, ModelOutput

if TYPE_CHECKING:
    from numpy_llama.generation.settings import GenerationSettings


@dataclass
class GenerateDecoderOnlyOutput(ModelOutput):
    """The result of greedy search and of sampling. R is rows: prompts times num_return_sequences.

    sequences        (R, T + N), prompt and continuation
    scores           N arrays (R, V), what was chosen from: logits after all rules; with output_scores
    logits           N arrays (R, V), before all rules; with output_logits
    attentions, hidden_states  N tuples, as the model returns them; with output_attentions, output_hidden_states
    past_key_values  the cache after the last step
    source           GenerateDecoderOnlyOutput of Transformers
    """

    sequences: np.ndarray
    scores: tuple[np.ndarray, ...] | None = None
    logits: tuple[np.ndarray, ...] | None = None
    attentions: tuple[Any, ...] | None = None
    hidden_states: tuple[Any, ...] | None = None
    past_key_values: KVCache | None = None


@dataclass
class GenerateBeamDecoderOnlyOutput(ModelOutput):
    """The result of beam search, best texts of a prompt first. R is prompts times num_return_sequences.

    sequences         (R, T + N)
    sequences_scores  (R,), log-probability divided by new tokens to the power length_penalty; with output_scores
    scores            arrays (B · num_beams, V), log-probabilities after all rules; with output_scores
    logits            arrays (B · num_beams, V), before all rules; with output_logits
    beam_indices      (R, N), which row of `scores` each new token was chosen from; −1 after the end
    attentions, hidden_states, past_key_values   as in GenerateDecoderOnlyOutput
    source            GenerateBeamDecoderOnlyOutput of Transformers
    """

    sequences: np.ndarray
    sequences_scores: np.ndarray | None = None
    scores: tuple[np.ndarray, ...] | None = None
    logits: tuple[np.ndarray, ...] | None = None
    beam_indices: np.ndarray | None = None
    attentions: tuple[Any, ...] | None = None
    hidden_states: tuple[Any, ...] | None = None
    past_key_values: KVCache | None = None


class Record:
    """Gathers, step by step, what the settings ask for, and nothing else."""

    def __init__(self, settings: "GenerationSettings"):
        names = ("scores", "logits", "attentions", "hidden_states")
        self._steps: dict[str, list[Any]] = {name: [] for name in names if getattr(settings, f"output_{name}")}

    def add(self, scores: np.ndarray, logits: np.ndarray, output: CausalLMOutputWithPast) -> None:
        """One step: what was chosen from, (R, V); the same before all rules; what the model returned."""
        for name, values in self._steps.items():
            values.append(scores if name == "scores" else logits if name == "logits" else getattr(output, name))

    def fields(self) -> dict[str, tuple[Any, ...]]:
        """Fields of an output."""
        return {name: tuple(values) for name, values in self._steps.items()}
