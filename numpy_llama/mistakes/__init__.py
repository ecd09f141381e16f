"""The mistakes that ports of Llama make: each a small named deviation, with what it looks like and what exposes it."""
