"""The three heads that sort texts and tokens instead of going on with them: one linear layer each.

source  LlamaForSequenceClassification, LlamaForTokenClassification and LlamaForQuestionAnswering in Transformers
"""

import warnings
from typing import Any

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.blocks.record import Blocks
from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.losses import (
    last_real_token,
    question_answering_loss,
    sequence_classification_loss,
    token_classification_loss,
)
from numpy_llama.model.outputs import (
    QuestionAnsweringModelOutput,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
)
from numpy_llama.model.pretrained import all_or_nothing
from numpy_llama.model.weights import Tensors
from numpy_llama.model.with_head import LlamaWithHead
from numpy_llama.probe import probe


class LlamaForSequenceClassification(LlamaWithHead):
    """Which of N labels a text has, read off at its last real token, the only one that has seen all the others.

    Constructed as LlamaPreTrainedModel says; N is config.num_labels.
    """

    @classmethod
    def head_shapes(cls, config: LlamaConfig) -> dict[str, tuple[int, ...]]:
        """One row for each label."""
        return {"score.weight": (config.num_labels, config.hidden_size)}

    def _build(self, config: LlamaConfig, tensors: Tensors, blocks: Blocks) -> None:
        super()._build(config, tensors, blocks)
        self.score = tensors["score.weight"]  # (N, E)

    @all_or_nothing
    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: KVCache | None = None,
        inputs_embeds: np.ndarray | None = None,
        labels: Any = None,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
        **options: Any,
    ) -> SequenceClassifierOutputWithPast:
        """Run T tokens of each text through the model.

        input_ids  (B, T), padded with config.pad_token_id on either side: the last other token is the text's last
        labels     (B,) label numbers; (B,) or (B, N) numbers for regression; (B, N) zeros and ones where a text may
                   have several labels. config.problem_type says which, or number and dtype of the labels do
        returns    SequenceClassifierOutputWithPast, logits (B, N)
        raises     LlamaError for several texts and a config without pad_token_id
        warns      LlamaWarning where embeddings are given, among which padding isn't to be seen: the last one counts

        The other arguments, errors and warnings are those of LlamaModel.
        """
        arguments = (input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache)
        output = self._run_body(*arguments, **options)
        logits = probe("score", self.blocks.linear(output.last_hidden_state, self.score))  # (B, T, N)
        rows = np.arange(len(logits))
        logits = logits[rows, self._last_tokens(input_ids, len(logits))]  # (B, N)
        loss = None
        if labels is not None:
            loss = sequence_classification_loss(logits, labels, self.config.problem_type)
        rest = (output.past_key_values, output.hidden_states, output.attentions)
        return self._returned(SequenceClassifierOutputWithPast(loss, logits, *rest), return_dict)

    def _last_tokens(self, input_ids: Any, batch: int) -> np.ndarray | int:
        """Where each text ends: (B,) positions, or −1 for the last in every row."""
        pad = self.config.pad_token_id
        if pad is None:
            if batch > 1:
                raise LlamaError("no pad token", where="config.pad_token_id", expected="one, for several texts at once")
            return -1
        if input_ids is None:
            message = "inputs_embeds: padding can't be seen in embeddings; the last token of each row counts"
            warnings.warn(message, LlamaWarning, stacklevel=4)
            return -1
        return last_real_token(np.asarray(input_ids), pad)


class LlamaForTokenClassification(LlamaWithHead):
    """Which of N labels each token has.

    Constructed as LlamaPreTrainedModel says; N is config.num_labels.
    """

    @classmethod
    def head_shapes(cls, config: LlamaConfig) -> dict[str, tuple[int, ...]]:
        """One row and one bias for each label."""
        return {"score.weight": (config.num_labels, config.hidden_size), "score.bias": (config.num_labels,)}

    def _build(self, config: LlamaConfig, tensors: Tensors, blocks: Blocks) -> None:
        super()._build(config, tensors, blocks)
        self.score, self.score_bias = tensors["score.weight"], tensors["score.bias"]  # (N, E), (N,)

    @all_or_nothing
    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: KVCache | None = None,
        inputs_embeds: np.ndarray | None = None,
        labels: Any = None,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
        **options: Any,
    ) -> TokenClassifierOutput:
        """Run T tokens of each text through the model.

        labels   (B, T) label numbers, −100 where one doesn't count
        returns  TokenClassifierOutput, logits (B, T, N)

        The other arguments, errors and warnings are those of LlamaModel.
        """
        arguments = (input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache)
        output = self._run_body(*arguments, **options)
        hidden = output.last_hidden_state  # (B, T, E)
        logits = probe("score", self.blocks.linear(hidden, self.score, self.score_bias))  # (B, T, N)
        loss = None if labels is None else token_classification_loss(logits, labels)
        result = TokenClassifierOutput(loss, logits, output.hidden_states, output.attentions)
        return self._returned(result, return_dict)


class LlamaForQuestionAnswering(LlamaWithHead):
    """Where in a text the answer begins and ends.

    Constructed as LlamaPreTrainedModel says. Its tensors say `transformer.` where the other heads' say `model.`.
    """

    base_model_prefix = "transformer."

    @classmethod
    def head_shapes(cls, config: LlamaConfig) -> dict[str, tuple[int, ...]]:
        """One row and one bias for the beginning, one for the end."""
        return {"qa_outputs.weight": (2, config.hidden_size), "qa_outputs.bias": (2,)}

    def _build(self, config: LlamaConfig, tensors: Tensors, blocks: Blocks) -> None:
        super()._build(config, tensors, blocks)
        self.transformer = self.model
        self.qa_outputs, self.qa_bias = tensors["qa_outputs.weight"], tensors["qa_outputs.bias"]  # (2, E), (2,)

    @all_or_nothing
    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: KVCache | None = None,
        inputs_embeds: np.ndarray | None = None,
        start_positions: Any = None,
        end_positions: Any = None,
        return_dict: bool | None = None,
        **options: Any,
    ) -> QuestionAnsweringModelOutput:
        """Run T tokens of each text through the model.

        start_positions, end_positions  (B,) each: where the true answer begins and ends; not counted past the text
        returns                         QuestionAnsweringModelOutput, start_logits and end_logits (B, T)

        The other arguments, errors and warnings are those of LlamaModel.
        """
        if (start_positions is None) != (end_positions is None):
            found = "only " + ("end_positions" if start_positions is None else "start_positions")
            expected = "both or neither"
            raise LlamaError("wrong arguments", where="start_positions, end_positions", expected=expected, found=found)
        arguments = (input_ids, attention_mask, position_ids, past_key_values, inputs_embeds)
        output = self._run_body(*arguments, **options)
        hidden = output.last_hidden_state  # (B, T, E)
        logits = probe("qa_outputs", self.blocks.linear(hidden, self.qa_outputs, self.qa_bias))  # (B, T, 2)
        start_logits, end_logits = logits[..., 0], logits[..., 1]  # (B, T) each
        loss = None
        if start_positions is not None:
            loss = question_answering_loss(start_logits, end_logits, start_positions, end_positions)
        result = QuestionAnsweringModelOutput(loss, start_logits, end_logits, output.hidden_states, output.attentions)
        return self._returned(result, return_dict)
