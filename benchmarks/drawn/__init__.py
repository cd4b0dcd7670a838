"""Pictures that are drawn and not taken: documents, screens and charts, the same from the same versions of what draws them."""
