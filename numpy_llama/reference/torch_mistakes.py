"""The catalogue's mistakes, planted in a torch Llama by somebody who has not read how the catalogue plants them.

    port = TorchPort(config, weights)
    label = PLANTS["layer-skipped"](port, np.random.default_rng(0))      # "layer 2"
    logits = port.run(calls)

Keys are those of the catalogue; what a key means is taken from its words. Where these can be read in several ways, the
way is drawn.
"""

from numpy_llama.reference import (  # noqa: F401  (each plants its own)
    torch_attentions,
    torch_caches,
    torch_layers,
    torch_masks,
    torch_norms,
    torch_positions,
    torch_rope_speeds,
    torch_ropes,
    torch_rows,
    torch_weights,
)
from numpy_llama.reference.torch_mistake import PLANTS, NotHere

__all__ = ["PLANTS", "NotHere"]
