"""Images and prompts become cached tensors, by the frozen encoders of a diffusion model."""
