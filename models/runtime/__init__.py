"""What runs a model: its steps, as named functions from numpy arrays to numpy arrays, on ONNX Runtime or on torch."""
