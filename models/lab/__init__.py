"""The model lab: every family of hierarchical VAE behind one protocol, trained, measured and coded by the same code."""
