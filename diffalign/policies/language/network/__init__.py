"""The network of a language model: packed layout, attention, output head, and heads that train with it."""
