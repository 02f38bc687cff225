"""Separability: can a linear rule tell chosen from rejected without knowing what was asked?

Where it can, the set has a shortcut: the chosen answers come from another model, are longer, open with the same words;
the chosen images from another generator or codec. Training learns the shortcut first. A probe is fitted on some
prompts and judged on others, beside probes that may see less (`study`); `words` and `looks` describe texts and
images in numbers.

Source: that answers of several models are linearly separable, and what comes of training on them, is Wang et al. 2025
(arXiv 2504.02193). Their probe is not published; this one, and its thresholds, are ours.
"""
