"""From written texts to token ids: encode.

May import batches/template.
"""
