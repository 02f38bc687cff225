"""Reward heads on vision-language models: what the judges of images and of clips share."""
