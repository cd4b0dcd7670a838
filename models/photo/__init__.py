"""The model family of photographs: the progressive hierarchical VAE whose levels are the layers of a file."""
