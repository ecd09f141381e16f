"""Judge somebody else's Python: functions under our names, or a whole model; NumPy's arrays, torch's or JAX's.

    arrays.py            our arrays as theirs, and theirs as ours: the border
    functions.py         finds what is to be judged in a module, and takes it across the border
    whole.py             a whole model as the judge sees it: ids in, logits out, with what it can take beside them
    whole_properties.py  what every Llama does, whatever its weights
    whole_published.py   the logits that Transformers gives
    judge.py             all of it, in a process of its own
    report.py            what became of it

`numpy-llama conformance` is the door; docs/conformance.md says how to use it.
"""
