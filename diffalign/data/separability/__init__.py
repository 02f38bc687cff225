"""Separability: whether a linear classifier can separate chosen from rejected candidates without the prompt.

Where it can, the data set has a shortcut: the chosen answers come from another model, are longer, or begin with the
same words; the chosen images come from another generator or codec. Training learns the shortcut first. A probe is
fitted on some prompts and evaluated on others, and compared with probes on fewer features (`study`). `text_features`
and `image_features` compute the features.

Source: Wang et al. 2025 (arXiv 2504.02193) show that answers of several models are linearly separable, and the effect
of training on them. Their probe is not published; this one, and its thresholds, are ours.
"""
