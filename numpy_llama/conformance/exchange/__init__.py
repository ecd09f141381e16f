"""Judge a program in any language, by files: we write what it is asked, it writes its answers, we judge those.

    recording.py  the calls that the properties make, kept, so that they can be asked of anybody
    written.py    arrays in files: safetensors or .npy, and what was drawn as JSON
    emit.py       writes the questions: numpy-llama conformance --emit DIR
    command.py    asks a command every question: --exec 'cmd {in} {out}'
    answers.py    what was answered, held against what was asked
    check.py      judges: --check DIR
    readme.py     the page that stands in DIR, for whoever writes the program

The judge is the same as for functions in Python. A property is run again on what it drew, and where it calls a function
it gets the program's answer to that very call. Expected values are nowhere in the folder: they follow from the
properties, and from the published values.
"""
