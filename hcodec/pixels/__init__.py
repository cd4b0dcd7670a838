"""The room of pixels: files to pictures and back, alpha, metadata. No network, no entropy coding."""
