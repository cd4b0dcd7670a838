"""The coding room: symbols and distributions to bytes and back."""
