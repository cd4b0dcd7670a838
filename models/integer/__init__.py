"""Exact integer arithmetic, for all families: kernels, products with certificates, quantization and the way back."""
