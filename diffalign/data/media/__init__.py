"""Decodes image files to 8-bit RGB and turns them into the tensors that an autoencoder takes."""
