"""Conformance: what every block of a Llama must do, as mathematics, and a judge that tries it out.

    port.py         the record that is judged: our blocks, a student's, somebody else's
    properties/     one file a block; each property is one sentence of mathematics and a few lines that can fail
    rounding.py     how far from the truth a correct result may be, and why
    runner.py       tries each property on many small examples and finds the smallest that fails
    published.py    Transformers' own numbers for single blocks, as properties
    apart.py        runs somebody's code in a process of its own, with limits
    findings.py     verdicts as text
    student.py      judges a file of functions named like ours: `numpy-llama grade`
    foreign/        judges somebody's Python: functions or a whole model, NumPy's, torch's or JAX's
    exchange/       judges programs in any language, by files

Trying examples is the work of hypothesis, an extra: `pip install '.[conformance]'`. Nothing here is imported
with the package.
"""

# Limits of a file that is judged; here, so that the command line can name them without loading the judge.
SECONDS = 60.0
MEMORY = 2 * 1024**3  # bytes of address space; Python with NumPy and hypothesis takes below half a GB of it
