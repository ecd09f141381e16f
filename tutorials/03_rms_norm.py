# %% [markdown]
# # 3 · RMSNorm: how a Llama keeps its numbers in hand
#
# Between any two steps of its work, a Llama sets the length of every vector right. It does so nine times in
# the small model on board and 65 times in one of 32 layers, always with the same three lines of arithmetic.
# They are called **RMSNorm**, and they are the smallest block of the house: a good one to understand
# completely.
#
# After this lesson you will be able to
#
# - compute RMSNorm of a small vector on paper, and say what it keeps and what it forgets;
# - tell what `weight` and `eps` are for, and what goes wrong when `eps` stands in the wrong place;
# - say why a two-byte number has to be widened before it is squared;
# - see RMSNorm at work inside a trained model, take it out, and watch what happens;
# - write it yourself, and have your function judged.
#
# It takes about half an hour. You need to know what a vector and a mean are, and to read a line of NumPy.

# %%
import inspect

import matplotlib.pyplot as plt
import ml_dtypes
import numpy as np

from numpy_llama import LlamaForCausalLM, LlamaTokenizer, embedded_model_folder, observe
from numpy_llama.blocks import Blocks, rms_norm

# Colours that remain apart for colour-blind eyes (Okabe and Ito); lines differ in their style, too.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#767676"
plt.rcParams.update({"figure.figsize": (7, 4), "font.size": 12, "axes.spines.top": False, "axes.spines.right": False})

# %% [markdown]
# ## By hand
#
# How long is the vector $x = (1, 7)$? One answer is its *root mean square*, rms for short. Read the name from
# right to left: square every number, take the mean, then the root.
#
# $$\mathrm{rms}(x) = \sqrt{\frac{1^2 + 7^2}{2}} = \sqrt{\frac{50}{2}} = \sqrt{25} = 5$$
#
# It is the typical size of an entry, one that counts large entries more and doesn't care about signs. NumPy
# agrees:

# %%
x = np.array([1.0, 7.0])
squares = x * x
mean_square = squares.mean()
rms = np.sqrt(mean_square)
print("squares    ", squares)
print("mean square", mean_square)
print("rms        ", rms)

# %% [markdown]
# RMSNorm divides the vector by its rms. What comes out, $(0.2, 1.4)$, has the rms 1, whatever went in:

# %%
y = x / rms
print("y        ", y)
print("rms of y ", np.sqrt((y * y).mean()))

# %% [markdown]
# The project's own block does the same. It takes two more arguments, which we will come to; here they do
# nothing.

# %%
ones = np.ones(2)
print(rms_norm(x, ones, eps=0.0))

# %% [markdown]
# ## What it keeps and what it forgets
#
# Dividing a vector by a positive number keeps its direction and changes its length. So RMSNorm puts every
# vector of the plane on one circle, along a straight line through the origin. (The circle has the radius
# $\sqrt{2}$, not 1: that is the length of a vector with two entries of size 1.)

# %%
points = np.array([[1, 7], [6, 1], [0.3, 0.6], [-5, 3], [-0.4, -0.2], [3, -6]])
normed = rms_norm(points, ones, eps=0.0)

figure, axes = plt.subplots(figsize=(6, 6))
turn = np.linspace(0, 2 * np.pi, 200)
axes.plot(np.sqrt(2) * np.cos(turn), np.sqrt(2) * np.sin(turn), color=GREY, linewidth=1)
for before, after in zip(points, normed, strict=True):
    axes.annotate("", xy=after, xytext=before, arrowprops={"arrowstyle": "->", "color": GREY})
axes.plot(*points.T, "o", color=BLUE, markersize=9, label="x")
axes.plot(*normed.T, "s", color=ORANGE, markersize=8, label="rms_norm(x)")
axes.axhline(0, color=GREY, linewidth=0.5)
axes.axvline(0, color=GREY, linewidth=0.5)
axes.set(xlabel="channel 0", ylabel="channel 1", title="Every vector lands on one circle, in its own direction")
axes.set(xlim=(-7.5, 7.5), ylim=(-7.5, 7.5), aspect="equal")
axes.legend(frameon=False, loc="lower left")
plt.show()

# %% [markdown]
# So the length is forgotten: ten times the vector gives the same result.

# %%
print(rms_norm(x, ones, eps=0.0))
print(rms_norm(10 * x, ones, eps=0.0))

# %% [markdown]
# The mean isn't. LayerNorm, the older relative in GPT-2, first subtracts the mean of the entries, and so
# can't tell $(3, 3)$ from $(0, 0)$. RMSNorm subtracts nothing, saves that work, and keeps the sign and the
# direction of a constant vector:

# %%
constant = np.array([3.0, 3.0])
print("RMSNorm           ", rms_norm(constant, ones, eps=1e-5))
print("mean taken off too", rms_norm(constant - constant.mean(), ones, eps=1e-5))

# %% [markdown]
# ## The weight
#
# With every vector on one circle, all channels would have to be of about the same size. The model may want
# some louder than others, so each channel is multiplied by a number of its own, learned in training: the
# **weight**. It comes last, after the length is set.
#
# $$y_i = \frac{x_i}{\mathrm{rms}(x)} \cdot w_i$$
#
# With $w = (10, -5)$ our $(0.2, 1.4)$ becomes $(2, -7)$. Check it on paper first:

# %%
print(rms_norm(x, np.array([10.0, -5.0]), eps=0.0))

# %% [markdown]
# ## Epsilon, and where it stands
#
# One vector has no direction: zero. Its rms is 0, and $0 / 0$ is no number. So a small positive constant,
# **eps**, is added *under the root*:
#
# $$y_i = \frac{x_i}{\sqrt{\mathrm{mean}(x^2) + \varepsilon}} \cdot w_i$$

# %%
zero = np.zeros(2)
with np.errstate(divide="ignore", invalid="ignore"):
    print("eps = 0    ", rms_norm(zero, ones, eps=0.0))
print("eps = 1e-5 ", rms_norm(zero, ones, eps=1e-5))

# %% [markdown]
# Why does the place matter? A common slip is `sqrt(mean) + eps` instead. Let us send in vectors of every
# length, and look at the rms of what comes out. With eps = 1e-5 the border lies at $\sqrt{\varepsilon}
# \approx 0.003$: much longer vectors are normed, much shorter ones are only multiplied by
# $1/\sqrt{\varepsilon} \approx 316$. With eps outside the root, the border lies at eps itself, 300 times
# lower, and short vectors, mostly rounding noise, are blown up to full size.

# %%
lengths = np.logspace(-8, 1, 200)
vectors = lengths[:, None] * np.array([[1.0, -1.0]])  # (200, 2), each with rms `length`
eps = 1e-5
under_the_root = np.abs(rms_norm(vectors, ones, eps)[:, 0])
outside = lengths / (lengths + eps)

figure, axes = plt.subplots()
axes.loglog(lengths, under_the_root, color=BLUE, linewidth=2.5, label="under the root")
axes.loglog(lengths, outside, color=ORANGE, linewidth=2.5, linestyle="--", label="outside the root")
axes.axvline(np.sqrt(eps), color=GREY, linewidth=1)
axes.annotate("√eps", (np.sqrt(eps), 2e-6), xytext=(6, 0), textcoords="offset points", color=GREY)
axes.axvline(eps, color=GREY, linewidth=1, linestyle=":")
axes.annotate("eps", (eps, 2e-6), xytext=(6, 0), textcoords="offset points", color=GREY)
axes.set(xlabel="rms of x", ylabel="rms of the result", title="What becomes of short vectors, eps = 1e-5")
axes.legend(frameon=False, loc="center right")
plt.show()

# %%
short = np.array([1e-4, -1e-4])
print("under the root", rms_norm(short, ones, eps))
print("outside       ", short / (np.sqrt((short * short).mean()) + eps))

# %% [markdown]
# ## The block itself
#
# You have seen everything there is. Here is the block, as it stands in the project. `widen` is the one line
# we haven't talked about, and `probe` gives an intermediate value a name, so that it can be watched.

# %%
print(inspect.getsource(rms_norm))

# %% [markdown]
# ## Two bytes are narrow
#
# Models are often stored in float16 or bfloat16, two bytes a number. The largest float16 is 65504, so the
# square of 300 doesn't fit. In bfloat16 it would, but that has only eight significant bits: counting up in
# ones it stops at 256, since 257 isn't there and 256 + 1 rounds back to 256. Sums of squares are made of such
# steps.

# %%
with np.errstate(over="ignore"):
    print("float16:  300 · 300 =", np.float16(300) * np.float16(300))
count = ml_dtypes.bfloat16(0)
for _ in range(1000):
    count = count + ml_dtypes.bfloat16(1)
print("bfloat16: 1 + 1 + … + 1, a thousand times =", count)

# %% [markdown]
# So `widen` turns two-byte numbers into float32 for the arithmetic, and only the result is rounded back. The
# block gives back the dtype it was given, and is right:

# %%
large = np.array([300.0, 400.0])
for dtype in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16):
    y = rms_norm(large.astype(dtype), np.ones(2, dtype), eps=1e-5)
    print(f"{y.dtype.name:9}", y.astype(np.float64))

# %% [markdown]
# ## At work in a model
#
# The model on board tells small stories. Every value in it has a name, and an observer can look at them as
# they are computed. Let us ask for the rms of the *residual stream*, the vector that each token carries
# through the layers, and of what the norms make of it.

# %%
folder = embedded_model_folder()
model = LlamaForCausalLM.from_pretrained(folder)
tokenizer = LlamaTokenizer.from_pretrained(folder)
ids = np.array([tokenizer.encode("Once upon a time, there was a little dog.")])  # (1, T)

stream, after_norm = {}, {}


def look(name, value, call):
    rms = np.sqrt(np.square(value).mean())
    place = name.removeprefix("model.").replace("layers.", "layer ")
    if place == "embed_tokens" or place.endswith("after_attention") or place.split(" ")[-1].isdigit():
        stream[place] = rms
    elif place == "norm" or place.endswith("layernorm"):
        after_norm[place] = rms


with observe(look):
    model(ids)

figure, axes = plt.subplots()
axes.plot(list(stream.values()), "o-", color=BLUE, linewidth=2, label="residual stream")
axes.plot(list(after_norm.values()), "s--", color=ORANGE, linewidth=2, label="after the norm that reads it")
axes.set_xticks(
    range(len(stream)), [name.replace(".after_attention", ", half") for name in stream], rotation=45, ha="right"
)
axes.set(ylabel="rms", ylim=(0, None), title="The stream grows; what a block reads doesn't")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# Each block adds its result to the stream, so on the whole the stream grows. The blocks never notice: each of
# them reads it through a norm, and finds vectors of the size it was trained for.
#
# After a norm, the rms isn't exactly 1, since the weights have their say. Here they are, all channels of
# every norm:

# %%
norms = {name: tensor for name, tensor in model.tensors.items() if "norm" in name}
labels = [
    name.removeprefix("model.").removesuffix(".weight").replace("layers.", "layer ").replace("_layernorm", "")
    for name in norms
]
figure, axes = plt.subplots(figsize=(7, 5))
scatter = np.random.default_rng(0).uniform(-0.3, 0.3, model.config.hidden_size)
for row, weight in enumerate(norms.values()):
    axes.plot(weight, row + scatter, ".", color=BLUE, alpha=0.5, markersize=5)
    axes.plot([weight.mean()], [row], "|", color=ORANGE, markersize=24, markeredgewidth=3)
axes.axvline(1, color=GREY, linewidth=1)
axes.set_yticks(range(len(norms)), labels)
axes.invert_yaxis()
axes.set(
    xlabel="weight: one dot a channel, the bar is the mean", title="What training made of the norms, all 1 at first"
)
plt.show()

# %% [markdown]
# ## Take it out
#
# A model computes through a record of functions, `Blocks`, and any of them can be swapped for another. How much
# does the model suffer when its norm is another one? Let it first write some text as it should be, drawn token by
# token from its own probabilities. Then we measure how surprised each variant is by that text, in *bits per
# token*: 1 bit is a coin toss, and a model that knows nothing needs $\log_2$ of the vocabulary's size. On the
# average nobody can be less surprised by this text than the model that it was drawn from.

# %%
start = np.full((8, 1), model.config.bos_token_id)
as_it_is = {"do_sample": True, "temperature": 1.0, "top_k": None, "eos_token_id": None}
text = model.generate(start, max_new_tokens=60, seed=0, **as_it_is)  # (8, 61)
print(tokenizer.decode(text[0], skip_special_tokens=True))


# %%
def bits_per_token(rms_norm):
    """How surprised the model is by the text, computing with this norm; and its largest logit."""
    swapped = LlamaForCausalLM.from_pretrained(folder, dtype="float64", blocks=Blocks().swap(rms_norm=rms_norm))
    logits = swapped(text).logits  # (8, T, V)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    of_next = np.take_along_axis(log_probabilities[:, :-1], text[:, 1:, None], axis=-1)
    return -of_next.mean() / np.log(2), np.abs(logits).max()


variants = {
    "as it should be": rms_norm,
    "eps = 1": lambda x, weight, eps: rms_norm(x, weight, 1.0),
    "mean taken off (LayerNorm)": lambda x, weight, eps: rms_norm(x - x.mean(axis=-1, keepdims=True), weight, eps),
    "sum instead of mean": lambda x, weight, eps: rms_norm(x, weight, eps) / np.sqrt(x.shape[-1]),
    "no norm at all": lambda x, weight, eps: x * weight,
}
print(f"a guess: {np.log2(model.config.vocab_size):.2f} bits")
for name, norm in variants.items():
    bits, largest = bits_per_token(norm)
    print(f"{name:28} {bits:10.4g} bits per token, largest logit {largest:.3g}")

# %% [markdown]
# The last line is what the norm is there for. Without it the numbers multiply from layer to layer, until the
# model is absurdly sure of nonsense. The lines before it are worth a longer look: a wrong norm may still give
# a model that seems to work. That is why mistakes like these live long, and why it takes more than a story
# that reads well to find them.
#
# ## Exercises
#
# 1. **On paper.** What is RMSNorm of $(3, -4, 0, 5, 0, \ldots)$, 50 entries of which all others are 0, with
#    weight 1 and eps 0? (Find the mean square first. The next cell checks.)
# 2. **On paper.** Which vectors $x$ have the same RMSNorm and LayerNorm, and why?
# 3. **Here.** Find an eps for which `bits_per_token` gets visibly worse than with 1e-5. How does it compare
#    with the mean squares (rms²) that the plot *The stream grows* begins with?
# 4. **Your own RMSNorm.** Open `tutorials/exercises/rms_norm.py`, write the function, and let it be judged:
#
#        numpy-llama grade tutorials/exercises/rms_norm.py
#
#    The judge tries your function on hundreds of small examples in all four dtypes. Where one fails, it shows
#    you the smallest, with the numbers it expected and those it got. `--hint 1` gives you a nudge. One
#    solution is in `tutorials/solutions/rms_norm.py`.
# 5. **Put it to work.** `import sys; sys.path.insert(0, "exercises")`, then `from rms_norm import rms_norm as mine`:
#    `bits_per_token(mine)` should agree with `bits_per_token(rms_norm)`.

# %%
exercise = np.zeros(50)
exercise[[0, 1, 3]] = 3, -4, 5
print(rms_norm(exercise, np.ones(50), eps=0.0)[:5])

# %% [markdown]
# ## To read on
#
# - Biao Zhang and Rico Sennrich, *Root Mean Square Layer Normalization*, 2019: the paper; equation 4 is ours
#   without eps.
# - `numpy_llama/blocks/rms_norm.py`, the block, and `numpy_llama/conformance/properties/rms_norm.py`, all
#   that the judge asks of it, a sentence of mathematics each.
