"""A debugger for the forward pass: stand at a value, walk on and back, look, change it and see what follows.

run = first_run(model, prompt_ids, steps=2)
session = Session(run.trace, piece, run)
print(execute(session, "jump *.scores", Screen()))
"""

from numpy_llama.study.step.commands import execute
from numpy_llama.study.step.running import Run, first_run
from numpy_llama.study.step.session import Session
from numpy_llama.study.step.stepper import Stepper
from numpy_llama.study.step.text import Screen
from numpy_llama.study.step.view import view

__all__ = ["Run", "Screen", "Session", "Stepper", "execute", "first_run", "view"]
