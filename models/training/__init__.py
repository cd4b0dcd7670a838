"""What all families train with: the loop, data, the optimizer, several processes. Nothing that codes imports this."""
