"""The judge: Hugging Face Transformers, run beside ours. The one place in this package that needs torch.

    make reference     compare live, on random configurations too
    make published     write data/published_logits/ and data/published_sampler/ again

Nothing else in numpy_llama imports from here; without the `reference` extra the package is whole. What the published
cases are (case*.py) is said without torch, so that a test can draw their weights and inputs again anywhere.
"""
